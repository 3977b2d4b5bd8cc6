"""The faults that capacity must detect: quotas, nodes and ranges that are really exhausted, unschedulable pods."""

from collections.abc import Iterator
from contextlib import contextmanager

from probes._api import ApiError
from tests.harness.wait import until
from tests.probes.paths import Json
from tests.probes.scenario import Bed, Fault

NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/default/pods"
_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip


def _node(name: str, pods: str = "110", *cidrs: str) -> Json:
    """A Node without a kubelet; nothing is scheduled to it."""
    spec: Json = {"unschedulable": True, "taints": [{"key": "example.com/fake", "effect": "NoSchedule"}]}
    if cidrs:
        spec |= {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}
    capacity = {"pods": pods, "cpu": "1", "memory": "1Gi"}
    info = {**dict.fromkeys(_INFO, ""), "kubeletVersion": "v1.34.4"}
    return {
        "metadata": {"name": name},
        "spec": spec,
        "status": {"capacity": capacity, "allocatable": capacity, "nodeInfo": info},
    }


def _pod(name: str, **spec: object) -> Json:
    container = {"name": "pause", "image": "docker.io/kubeprobe/pause:dev"}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


@contextmanager
def _pods(bed: Bed, *manifests: Json) -> Iterator[None]:
    """While these pods exist; deleted without grace, as some have no kubelet."""
    created = []
    try:
        for manifest in manifests:
            bed.api.create(PODS, manifest)
            created.append(f"{PODS}/{manifest['metadata']['name']}")
        yield
    finally:
        for path in created:
            try:
                bed.api.delete(path, gracePeriodSeconds=0)
            except ApiError as error:
                if error.status != 404:  # the controllers may have removed it from a NotReady Node
                    raise


@contextmanager
def _pods_on(bed: Bed, node: Json, number: int) -> Iterator[None]:
    name = node["metadata"]["name"]
    tolerant = {"nodeName": name, "tolerations": [{"operator": "Exists"}]}
    with (
        bed.cluster.having_at(NODES, node),
        _pods(bed, *(_pod(f"{name}-{one}", **tolerant) for one in range(number))),
    ):
        yield


@contextmanager
def full_node(bed: Bed) -> Iterator[None]:
    with _pods_on(bed, _node("crowded", "3"), 3):
        yield


@contextmanager
def pod_addresses_exhausted(bed: Bed) -> Iterator[None]:
    with _pods_on(bed, _node("cramped", "110", "10.245.7.0/30"), 2):
        yield


@contextmanager
def node_ranges_exhausted(bed: Bed) -> Iterator[None]:
    nodes = [_node(f"ranged-{number}", "110", f"10.246.{number}.0/24") for number in range(4)]
    with bed.cluster.having_at(NODES, *nodes):
        yield


@contextmanager
def service_addresses_exhausted(bed: Bed) -> Iterator[None]:
    services = [{"metadata": {"name": f"many-{number}"}, "spec": {"ports": [{"port": 80}]}} for number in range(30)]
    with bed.cluster.having("default", "services", *services):
        yield


@contextmanager
def full_quota(bed: Bed) -> Iterator[None]:
    quota = {"metadata": {"name": "tight"}, "spec": {"hard": {"count/secrets": "2"}}}
    secrets = [{"metadata": {"name": f"tight-{number}"}, "stringData": {"a": "b"}} for number in range(2)]

    def is_full() -> bool:
        status = bed.api.get("/api/v1/namespaces/default/resourcequotas/tight").get("status") or {}
        return int((status.get("used") or {}).get("count/secrets", 0)) >= 2  # there may be others

    with (
        bed.cluster.having("default", "secrets", *secrets),
        bed.cluster.having("default", "resourcequotas", quota),
    ):
        until("the quota's usage", is_full)
        yield


@contextmanager
def unschedulable_pod(bed: Bed) -> Iterator[None]:
    with _pods(bed, _pod("unschedulable", nodeSelector={"example.com/disk": "fast"})):
        until("the scheduler's condition", lambda: bed.api.get(f"{PODS}/unschedulable")["status"].get("conditions"))
        yield


@contextmanager
def scheduler_down(bed: Bed) -> Iterator[None]:
    bed.testbed.stop("kube-scheduler")
    try:
        with _pods(bed, _pod("pending")):
            yield
    finally:
        bed.testbed.start("kube-scheduler")


FAULTS = [
    Fault(
        "no node matches a pod's node selector",
        unschedulable_pod,
        says=r"^pod default/unschedulable has been unscheduled for \d+ s: Unschedulable: "
        r"0/\d+ nodes are available: .*selector",
        parameters={"PENDING_SECONDS": "0"},
    ),
    Fault(
        "the scheduler is down",
        scheduler_down,
        says=r"^pod default/pending has been unscheduled for \d+ s: Pending: no scheduler has processed it",
        parameters={"PENDING_SECONDS": "0"},
        runs_as="pinned",
    ),
    Fault("a node has its maximum number of pods", full_node, says=r"^node crowded: pods: 3 of 3 in use, 100 %"),
    Fault(
        "a node's pod addresses are exhausted",
        pod_addresses_exhausted,
        says=r"^node cramped: pod addresses of 10\.245\.7\.0/30: 2 of 2 in use, 100 %",
    ),
    Fault(
        "no pod address range is left for a new node",
        node_ranges_exhausted,
        says=r"^cluster CIDR 10\.246\.0\.0/22: ranges for nodes: 4 of 4 in use, 100 %",
        parameters={"CLUSTER_CIDR": "10.246.0.0/22"},
    ),
    Fault(
        "Service addresses are nearly exhausted",
        service_addresses_exhausted,
        says=r"^Service addresses of 10\.96\.0\.0/16: \d+ of 65534 in use, .*SERVICE_ADDRESSES_PERCENT is 0\.04",
        parameters={"SERVICE_ADDRESSES_PERCENT": "0.04"},
    ),
    Fault(
        "a quota is full",
        full_quota,
        says=r"^resourcequota default/tight: count/secrets: \d of 2 in use, 1\d\d % \(QUOTA_PERCENT is 90\)",
    ),
]
