"""The faults that version-skew must detect: Nodes and pods with unsupported versions, a request of a deprecated API."""

from collections.abc import Iterator
from contextlib import contextmanager

from probes._api import ApiError
from tests.probes.paths import Json
from tests.probes.scenario import Bed, Fault

NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/kube-system/pods"


def _node(name: str, version: str) -> Json:
    """A Node as a kubelet of this version would register it, without a kubelet."""
    return {
        "metadata": {"name": name, "labels": {"example.com/fake": "true"}},
        "spec": {"unschedulable": True, "taints": [{"key": "example.com/fake", "effect": "NoSchedule"}]},
        "status": {"nodeInfo": {**dict.fromkeys(_INFO, ""), "kubeletVersion": version}},
    }


_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip


@contextmanager
def _pod(bed: Bed, name: str, node: str, **labels: str) -> Iterator[None]:
    """A component's pod on a Node without a kubelet: its status never changes."""
    component, _, version = name.partition("@")
    container = {"name": component, "image": f"registry.k8s.io/{component}:{version}"}
    toleration = {"operator": "Exists"}
    body = {
        "metadata": {"name": f"{component}-unsupported", "labels": labels},
        "spec": {"nodeName": node, "containers": [container], "tolerations": [toleration]},
    }
    bed.api.create(PODS, body)
    try:
        yield
    finally:
        try:
            bed.api.delete(f"{PODS}/{component}-unsupported", gracePeriodSeconds=0)
        except ApiError as error:
            if error.status != 404:  # the controllers may have removed it from a Node that does not answer
                raise


@contextmanager
def old_kubelet(bed: Bed) -> Iterator[None]:
    with bed.cluster.having_at(NODES, _node("old", "v1.30.2")):
        yield


@contextmanager
def new_kubelet(bed: Bed) -> Iterator[None]:
    with bed.cluster.having_at(NODES, _node("new", "v1.35.0")):
        yield


@contextmanager
def old_kube_proxy(bed: Bed) -> Iterator[None]:
    with (
        bed.cluster.having_at(NODES, _node("proxied", "v1.34.4")),
        _pod(bed, "kube-proxy@v1.29.1", "proxied", **{"k8s-app": "kube-proxy"}),
    ):
        yield


@contextmanager
def new_controller_manager(bed: Bed) -> Iterator[None]:
    with (
        bed.cluster.having_at(NODES, _node("control-plane", "v1.34.4")),
        _pod(bed, "kube-controller-manager@v1.35.1", "control-plane", tier="control-plane"),
    ):
        yield


@contextmanager
def deprecated_request(bed: Bed) -> Iterator[None]:
    bed.api.get("/api/v1/componentstatuses")
    yield


FAULTS = [
    Fault(
        "a kubelet is four minor versions old",
        old_kubelet,
        says=r"^kubelet v1\.30\.2 on node old is 4 minor versions older than kube-apiserver v1\.34\.\d+; at most 3",
    ),
    Fault(
        "a kubelet is newer than the API server",
        new_kubelet,
        says=r"^kubelet v1\.35\.0 on node new is newer than kube-apiserver v1\.34\.",
    ),
    Fault(
        "a kube-proxy is five minor versions old",
        old_kube_proxy,
        says=r"^kube-proxy v1\.29\.1 on node proxied is 5 minor versions older than kube-apiserver",
    ),
    Fault(
        "a controller manager is newer than the API server",
        new_controller_manager,
        says=r"^kube-controller-manager v1\.35\.1 on node control-plane is newer than kube-apiserver",
    ),
    Fault(
        "a client requests a deprecated API",
        deprecated_request,
        says=r"^API v1/componentstatuses is deprecated, but was requested",
        parameters={"IGNORE_APIS": "v1/endpoints"},
    ),
]
