"""Further control planes without nodes, beside the test bed's own: virtual clusters, members of a federation.

Each is etcd, API server and controller manager with certificates of its own, in the same network namespace on ports of
its own, and ends with the test bed's `down`. A pod there stays pending: nobody schedules it.
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

START_TIMEOUT = 90.0
_PORTS = {"etcd": 12379, "peer": 12380, "kube-apiserver": 16443, "kube-controller-manager": 20257}
_APART = 100  # ports between one control plane and the next
SERVICE_CIDR = "10.97.0.0/16"
CONTROLLERS = (
    *("garbage-collector-controller", "namespace-controller", "resourcequota-controller"),
    *("root-ca-certificate-publisher-controller", "serviceaccount-controller", "serviceaccount-token-controller"),
)
"""What keeps namespaces, owners, accounts and quotas in order; nothing that would make pods."""


@dataclass(frozen=True)
class Extra(Instance):
    """A control plane's place: its own state within its test bed's, in the same namespace and cgroup."""

    bed: Instance = field(default_factory=Instance)
    number: int = 0

    @property
    def state(self) -> Path:
        """Removed with the test bed's cluster."""
        return self.bed.cluster / "extra" / self.name

    @property
    def run(self) -> Path:
        """Process ids."""
        return self.bed.run / "extra" / self.name

    @property
    def logs(self) -> Path:
        """Kept by `down`, as the others are."""
        return self.bed.logs / self.name

    @property
    def netns(self) -> Path:
        """The test bed's."""
        return self.bed.netns

    @property
    def cgroup(self) -> str:
        """The test bed's, so that its `down` ends this too."""
        return self.bed.cgroup

    def port(self, of: str) -> int:
        """Where a component listens."""
        return _PORTS[of] + _APART * self.number


class ControlPlane:
    """One further control plane of a test bed that is up. `number` tells its ports from those of others.

    `api_server`: further flags of its API server; they win over those that it has anyway.
    """

    def __init__(self, bed: Instance, name: str, number: int, api_server: tuple[str, ...] = ()) -> None:
        self.place = Extra(name, bed, number)
        self._components = {
            component.name: component
            for component in (
                Component("etcd", _with_ports(self.place, _etcd), self.place.port("etcd")),
                Component(
                    "kube-apiserver",
                    _with_ports(self.place, lambda place: [*_apiserver(place), *api_server]),
                    self.place.port("kube-apiserver"),
                ),
                Component(
                    "kube-controller-manager",
                    _with_ports(self.place, _controller_manager),
                    self.place.port("kube-controller-manager"),
                ),
            )
        }

    @property
    def server(self) -> str:
        """The API server's URL within the namespace."""
        return f"https://{NODE_ADDRESS}:{self.place.port('kube-apiserver')}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, with everything in it."""
        return self.place.kubeconfig

    def up(self) -> None:
        """Start what is not running and wait until the API answers; raises TestbedError naming what does not."""
        with self.place.lock():
            if not pki.directory(self.place).is_dir():
                self._make_keys()
            for name in self._components:  # in turn: the API server makes the roles that the next one needs
                self.start(name)

    def down(self) -> None:
        """End it and forget all that it held."""
        with self.place.lock():
            for component in reversed(self._components.values()):
                processes.kill(self.place, component)
            shutil.rmtree(self.place.state, ignore_errors=True)

    def stop(self, name: str) -> None:
        """End one component, such as `kube-apiserver`."""
        processes.stop(self.place, self._components[name])

    def start(self, name: str) -> None:
        """Start it again, and wait until it serves."""
        self._start(name)
        self._await(name)

    def pause(self, name: str) -> None:
        """Freeze a component: it keeps its connections and answers nothing."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        self._signal(name, signal.SIGCONT)

    def _make_keys(self) -> None:
        self.place.state.mkdir(parents=True, exist_ok=True)
        pki.create(self.place)
        for kubeconfig in (self.place.kubeconfig, *pki.directory(self.place).glob("*.kubeconfig")):
            document = json.loads(kubeconfig.read_text())
            document["clusters"][0]["cluster"]["server"] = self.server
            kubeconfig.write_text(json.dumps(document, indent=2) + "\n")

    def _start(self, name: str) -> None:
        component = self._components[name]
        processes.start(self.place, component, binaries.kubernetes()).send(signal.SIGCONT)

    def _await(self, name: str) -> None:
        component = self._components[name]
        try:
            processes.wait_until(f"{name} serves", lambda: processes.serves(self.place, component), START_TIMEOUT)
            if name == "kube-apiserver":
                processes.wait_until(f"{self.server} is ready", self._is_ready, START_TIMEOUT)
        except TestbedError as error:
            raise processes.failure(self.place, component, f"of {self.place.name} does not serve ({error})") from error

    def _is_ready(self) -> bool:
        kubectl = [str(binaries.kubernetes() / "kubectl"), f"--kubeconfig={self.kubeconfig}", "--request-timeout=5s"]
        return succeeds(self.place.in_namespace([*kubectl, "get", "--raw=/readyz"]))

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = processes.find(self.place, self._components[name])
        if process is None:
            raise TestbedError(f"{name} of {self.place.name} is not running")
        process.send(number)


def _with_ports(place: Extra, arguments: Callable[[Extra], list[str]]) -> Callable[[Instance], list[str]]:
    return lambda _instance: arguments(place)


def _etcd(place: Extra) -> list[str]:
    keys = pki.directory(place)
    client = f"https://127.0.0.1:{place.port('etcd')}"
    return [
        f"--data-dir={place.cluster / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls=http://127.0.0.1:{place.port('peer')}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{place.port('peer')}",
        f"--initial-cluster=default=http://127.0.0.1:{place.port('peer')}",
        "--client-cert-auth",
        f"--trusted-ca-file={keys / 'ca.crt'}",
        f"--cert-file={keys / 'etcd.crt'}",
        f"--key-file={keys / 'etcd.key'}",
        "--log-level=warn",
        "--unsafe-no-fsync",
    ]


def _apiserver(place: Extra) -> list[str]:
    keys = pki.directory(place)
    return [
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={place.port('kube-apiserver')}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--etcd-servers=https://127.0.0.1:{place.port('etcd')}",
        f"--etcd-cafile={keys / 'ca.crt'}",
        f"--etcd-certfile={keys / 'etcd.crt'}",
        f"--etcd-keyfile={keys / 'etcd.key'}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={_issuer(place)}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
    ]


def _issuer(place: Extra) -> str:
    """Who signs service accounts' tokens there: nobody that the test bed's own cluster would believe."""
    return f"https://{place.name}.extra.invalid"


def _controller_manager(place: Extra) -> list[str]:
    keys = pki.directory(place)
    kubeconfig = keys / "kube-controller-manager.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={place.port('kube-controller-manager')}",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        "--use-service-account-credentials",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
    ]
