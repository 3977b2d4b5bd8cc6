"""More control planes in a test bed, without nodes: for virtual clusters and members of a federation.

Each consists of etcd, API server and controller manager with their own certificates and ports, in the test bed's
network namespace; the test bed's `down` removes it. Pods there stay pending: there is no scheduler.
"""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from testbed import binaries, pki, processes
from testbed.commands import succeeds
from testbed.components import Component
from testbed.instance import NODE_ADDRESS, Instance, TestbedError

START_TIMEOUT = 180.0
_PORTS = {"etcd": 12379, "peer": 12380, "kube-apiserver": 16443, "kube-controller-manager": 20257}
_PORT_STEP = 100  # between one control plane's ports and the next one's
SERVICE_CIDR = "10.97.0.0/16"
CONTROLLERS = (
    *("garbage-collector-controller", "namespace-controller", "resourcequota-controller"),
    *("root-ca-certificate-publisher-controller", "serviceaccount-controller", "serviceaccount-token-controller"),
)
"""The controllers of namespaces, garbage collection, accounts and quotas; none that creates pods."""


@dataclass(frozen=True)
class ExtraInstance(Instance):
    """The instance of a control plane: its own state, and the namespace and cgroup of its test bed."""

    bed: Instance = field(default_factory=Instance)
    number: int = 0

    @property
    def state(self) -> Path:
        """Its state, removed with the test bed's cluster."""
        return self.bed.cluster / "extra" / self.name

    @property
    def run(self) -> Path:
        """Its process ids."""
        return self.bed.run / "extra" / self.name

    @property
    def logs(self) -> Path:
        """Its logs, kept by `down`."""
        return self.bed.logs / self.name

    @property
    def netns(self) -> Path:
        """The test bed's network namespace."""
        return self.bed.netns

    @property
    def cgroup(self) -> str:
        """The test bed's cgroup, so that its `down` ends this too."""
        return self.bed.cgroup

    def port(self, component: str) -> int:
        """The port on which a component listens."""
        return _PORTS[component] + _PORT_STEP * self.number


class ControlPlane:
    """One more control plane of a running test bed. `number` makes its ports unique.

    `api_server`: additional flags of its API server; they override its default ones.
    """

    def __init__(self, bed: Instance, name: str, number: int, api_server: tuple[str, ...] = ()) -> None:
        self.instance = ExtraInstance(name, bed, number)
        self._components = {
            component.name: component
            for component in (
                Component("etcd", _with_ports(self.instance, _etcd), self.instance.port("etcd")),
                Component(
                    "kube-apiserver",
                    _with_ports(self.instance, lambda instance: [*_apiserver(instance), *api_server]),
                    self.instance.port("kube-apiserver"),
                ),
                Component(
                    "kube-controller-manager",
                    _with_ports(self.instance, _controller_manager),
                    self.instance.port("kube-controller-manager"),
                ),
            )
        }

    @property
    def server(self) -> str:
        """The API server's URL within the namespace."""
        return f"https://{NODE_ADDRESS}:{self.instance.port('kube-apiserver')}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, with embedded certificates."""
        return self.instance.kubeconfig

    def up(self) -> None:
        """Start what is not running and wait until the API answers. Raises TestbedError naming the failed component."""
        with self.instance.lock():
            if not pki.directory(self.instance).is_dir():
                self._make_keys()
            for name in self._components:  # in order: the API server creates the roles that the next one needs
                self.start(name)

    def down(self) -> None:
        """Stop it and remove its data."""
        with self.instance.lock():
            for component in reversed(self._components.values()):
                processes.kill(self.instance, component)
            shutil.rmtree(self.instance.state, ignore_errors=True)

    def stop(self, name: str) -> None:
        """Stop one component, such as `kube-apiserver`."""
        processes.stop(self.instance, self._components[name])

    def start(self, name: str) -> None:
        """Start one component, and wait until it serves."""
        self._start(name)
        self._await(name)

    def pause(self, name: str) -> None:
        """Suspend a component (SIGSTOP): it keeps its connections and answers nothing."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Resume a paused component (SIGCONT)."""
        self._signal(name, signal.SIGCONT)

    def _make_keys(self) -> None:
        self.instance.state.mkdir(parents=True, exist_ok=True)
        pki.create(self.instance)
        for kubeconfig in (self.instance.kubeconfig, *pki.directory(self.instance).glob("*.kubeconfig")):
            document = json.loads(kubeconfig.read_text())
            document["clusters"][0]["cluster"]["server"] = self.server
            kubeconfig.write_text(json.dumps(document, indent=2) + "\n")

    def _start(self, name: str) -> None:
        component = self._components[name]
        processes.start(self.instance, component, binaries.kubernetes()).send(signal.SIGCONT)

    def _await(self, name: str) -> None:
        component = self._components[name]
        try:
            processes.wait_until(f"{name} serves", lambda: processes.serves(self.instance, component), START_TIMEOUT)
            if name == "kube-apiserver":
                processes.wait_until(f"{self.server} is ready", self._is_ready, START_TIMEOUT)
        except TestbedError as error:
            raise processes.failure(
                self.instance, component, f"of {self.instance.name} does not serve ({error})"
            ) from error

    def _is_ready(self) -> bool:
        kubectl = [str(binaries.kubernetes() / "kubectl"), f"--kubeconfig={self.kubeconfig}", "--request-timeout=5s"]
        return succeeds(self.instance.in_namespace([*kubectl, "get", "--raw=/readyz"]))

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = processes.find(self.instance, self._components[name])
        if process is None:
            raise TestbedError(f"{name} of {self.instance.name} is not running")
        process.send(number)


def _with_ports(
    instance: ExtraInstance, arguments: Callable[[ExtraInstance], list[str]]
) -> Callable[[Instance], list[str]]:
    return lambda _instance: arguments(instance)


def _etcd(instance: ExtraInstance) -> list[str]:
    keys = pki.directory(instance)
    client = f"https://127.0.0.1:{instance.port('etcd')}"
    return [
        f"--data-dir={instance.cluster / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls=http://127.0.0.1:{instance.port('peer')}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{instance.port('peer')}",
        f"--initial-cluster=default=http://127.0.0.1:{instance.port('peer')}",
        "--client-cert-auth",
        f"--trusted-ca-file={keys / 'ca.crt'}",
        f"--cert-file={keys / 'etcd.crt'}",
        f"--key-file={keys / 'etcd.key'}",
        "--log-level=warn",
        "--unsafe-no-fsync",
    ]


def _apiserver(instance: ExtraInstance) -> list[str]:
    keys = pki.directory(instance)
    return [
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={instance.port('kube-apiserver')}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--etcd-servers=https://127.0.0.1:{instance.port('etcd')}",
        f"--etcd-cafile={keys / 'ca.crt'}",
        f"--etcd-certfile={keys / 'etcd.crt'}",
        f"--etcd-keyfile={keys / 'etcd.key'}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={_issuer(instance)}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
    ]


def _issuer(instance: ExtraInstance) -> str:
    """The issuer of its service account tokens, which the test bed's own cluster does not trust."""
    return f"https://{instance.name}.extra.invalid"


def _controller_manager(instance: ExtraInstance) -> list[str]:
    keys = pki.directory(instance)
    kubeconfig = keys / "kube-controller-manager.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={instance.port('kube-controller-manager')}",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        "--use-service-account-credentials",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
    ]
