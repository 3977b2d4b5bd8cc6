"""A real vcluster, as a process outside of the cluster, with a separate control plane.

It does the same as in a pod of its chart: syncs pods to the host, serves the virtual API, writes its Secret.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import yaml

from probes._access import find_access
from probes._api import Api, ApiError
from testbed import binaries, pki
from testbed.extra import ControlPlane
from testbed.instance import NODE_ADDRESS, SERVICE_CIDR
from tests.harness.wait import until
from tests.probes.paths import NAMESPACE, Json
from tests.probes.scenario import Bed

NAME = "virtual"
PORT = 18443
SECRET = f"vc-{NAME}"
SERVER = f"https://{NAME}.{NAMESPACE}:443"
"""The Service of the chart, by which the host's pods reach the virtual API."""
_ADDRESS = "10.96.0.243"  # constant, as the cluster's DNS caches it
_SECRET_PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
MANAGED_BY = "vcluster.loft.sh/managed-by"
_API_SERVER = (
    f"--service-cluster-ip-range={SERVICE_CIDR}",  # virtual Services have the host's addresses
    "--endpoint-reconciler-type=none",  # `kubernetes` is vcluster's own address there
)
_SYNCED_KINDS = ("pods", "services", "configmaps", "secrets")
# vcluster writes .kube/config to this constant path, independent of HOME: it is mounted read-only.
_READ_ONLY_HOME = 'mount --rbind /root /root && mount -o remount,bind,ro /root && exec "$@"'


class VirtualCluster:
    """The virtual control plane and vcluster's process."""

    def __init__(self, bed: Bed) -> None:
        self.plane = ControlPlane(bed.testbed.instance, NAME, 0, _API_SERVER)
        self._bed = bed
        self._folder = bed.tmp / "vcluster"
        self._process: subprocess.Popen[bytes] | None = None

    def api(self) -> Api:
        """A client of the virtual API server, as its administrator."""
        return Api(find_access({"KUBECONFIG": str(self.plane.kubeconfig)}))

    def start(self) -> None:
        """Start vcluster, and wait until it serves and syncs."""
        program = binaries.VCLUSTER.folder()
        self._folder.mkdir(exist_ok=True)
        config = self._folder / "config.json"
        config.write_text(json.dumps(_merged(yaml.safe_load((program / "values.yaml").read_text()), self._values())))
        start = [str(program / "vcluster"), "start", f"--config={config}"]
        command = ["unshare", "--mount", "sh", "-ec", _READ_ONLY_HOME, "start", *start]
        if is_there(self._bed.api, _SECRET_PATH):  # so that its existence means that this process has created it
            self._bed.api.delete(_SECRET_PATH)
        with (self._folder / "vcluster.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._bed.testbed.inside(command),
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self._folder),
                    "KUBECONFIG": str(self._bed.testbed.instance.kubeconfig),
                    "VCLUSTER_NAME": NAME,
                    "POD_NAME": f"{NAME}-0",
                    "POD_IP": NODE_ADDRESS,
                    "NAMESPACE": NAMESPACE,
                },
                stdout=log,
                stderr=log,
            )
        until("vcluster to serve and to write its Secret", self._is_ready, 90, 0.3, self._log_tail)

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Suspend it: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _values(self) -> Json:
        """Differences from the chart's values, as the control plane already exists."""
        keys = pki.directory(self.plane.instance)
        authority = str(keys / "ca.crt")
        etcd = {
            "enabled": True,
            "endpoint": f"127.0.0.1:{self.plane.instance.port('etcd')}",
            "tls": {"caFile": authority, "certFile": str(keys / "etcd.crt"), "keyFile": str(keys / "etcd.key")},
        }
        k8s = {"enabled": True, "apiServer": {"enabled": False}, "controllerManager": {"enabled": False}}
        return {
            "controlPlane": {
                "distro": {"k8s": k8s},
                "backingStore": {"etcd": {"external": etcd}},
                "proxy": {"port": PORT},
            },
            "serviceCIDR": SERVICE_CIDR,
            "experimental": {
                "virtualClusterKubeConfig": {
                    "kubeConfig": str(self.plane.kubeconfig),
                    "serverCACert": authority,
                    "serverCAKey": str(keys / "ca.key"),
                    "clientCACert": authority,
                    "requestHeaderCACert": authority,
                }
            },
            "telemetry": {"enabled": False},
        }

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"vcluster has ended: {self._log_tail()}"
        access = replace(find_access({"KUBECONFIG": str(self.plane.kubeconfig)}), server=f"https://{_ADDRESS}")
        with Api(access, 1) as api:  # the pods' path, as kube-proxy may be later than vcluster
            try:
                api.text("/readyz")
            except ApiError:
                return False
        return is_there(self._bed.api, _SECRET_PATH)

    def _log_tail(self) -> str:
        return (self._folder / "vcluster.log").read_text(errors="replace")[-2000:]


@contextmanager
def virtual_cluster(bed: Bed) -> Iterator[VirtualCluster]:
    """A virtual cluster whose pods run in the host's namespace NAMESPACE. Its control plane keeps running."""
    found = VirtualCluster(bed)
    found.plane.up()
    with ExitStack() as stack:
        stack.callback(_wait_until_nothing_is_left, bed)
        for kind, body in _chart_objects():
            stack.enter_context(bed.cluster.having(NAMESPACE, kind, body))
        _create_dns_service(found)
        stack.callback(found.kill)
        found.start()
        yield found


def is_there(api: Api, path: str) -> bool:
    """Whether an object exists at `path`."""
    try:
        return bool(api.get(path))
    except ApiError as error:
        if error.status != 404:
            raise
        return False


def _chart_objects() -> Iterator[tuple[str, Json]]:
    """The chart's objects on the host. The Service owns all objects of vcluster, which are deleted with it."""
    ports = [{"name": "https", "port": 443, "targetPort": PORT}, {"name": "kubelet", "port": 10250, "targetPort": PORT}]
    addresses = [{"ip": NODE_ADDRESS}]
    listening = [{"name": port["name"], "port": PORT} for port in ports]
    yield "serviceaccounts", {"metadata": {"name": f"vc-workload-{NAME}"}}
    yield "secrets", {"metadata": {"name": f"vc-config-{NAME}"}}
    yield "services", {"metadata": {"name": NAME}, "spec": {"clusterIP": _ADDRESS, "ports": ports}}
    yield (
        "endpoints",
        {"metadata": {"name": NAME}, "subsets": [{"addresses": addresses, "ports": listening}]},
    )


def _create_dns_service(cluster: VirtualCluster) -> None:
    """The Service of the virtual cluster's DNS: without it, vcluster starts no pod."""
    body = {"metadata": {"name": "kube-dns"}, "spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}}
    with cluster.api() as api:
        services = "/api/v1/namespaces/kube-system/services"
        if not is_there(api, f"{services}/kube-dns"):
            api.create(services, body)


def _wait_until_nothing_is_left(bed: Bed) -> None:
    def left() -> list[str]:
        managed = [
            f"{kind} {one['metadata']['name']}"
            for kind in _SYNCED_KINDS
            for one in bed.api.get(f"/api/v1/namespaces/{NAMESPACE}/{kind}", labelSelector=MANAGED_BY)["items"]
        ]
        return [*managed, *([f"secrets {SECRET}"] if is_there(bed.api, _SECRET_PATH) else [])]

    until("vcluster's objects on the host to be deleted", lambda: not left(), 60, 0.3, left)


def _merged(values: Json, others: Json) -> Json:
    """Values merged as in Helm: `others` takes precedence."""
    both: dict[str, Any] = dict(values)
    for key, value in others.items():
        both[key] = _merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both
