"""The faults that pod-lifecycle must detect, on the real cluster."""

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.instance import NODE_NAME
from tests.harness.wait import until
from tests.probes.component_faults import nothing_broken, without_component
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault

MISSING_IMAGE = "docker.io/kubeprobe/nothing-here:dev"
SOON = {"READY_TIMEOUT": "4"}


@contextmanager
def quota_full(bed: Bed) -> Iterator[None]:
    """A quota that admits the probe's own pod only."""
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"requests.cpu": "55m"}}}
    with bed.cluster.having(NAMESPACE, "resourcequotas", quota):
        path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/full"
        until("the quota to be counted", lambda: bed.api.get(path).get("status", {}).get("hard"))
        yield


@contextmanager
def node_cordoned(bed: Bed) -> Iterator[None]:
    """No node accepts new pods."""
    bed.kubectl("cordon", NODE_NAME)
    try:
        yield
    finally:
        bed.kubectl("uncordon", NODE_NAME)


FAULTS = [
    Fault(
        "the image cannot be pulled",
        nothing_broken,
        says=rf"ready: pod not ready after 15 s: (ErrImagePull|ImagePullBackOff).*{MISSING_IMAGE}",
        parameters={"IMAGE": MISSING_IMAGE, "READY_TIMEOUT": "15"},
    ),
    Fault("the quota is full", quota_full, says=r"^create: 403 Forbidden: .*exceeded quota: full"),
    Fault(
        "all nodes are cordoned",
        node_cordoned,
        says=r"^ready: pod not ready after 10 s: Unschedulable: 0/1 nodes are available: .*were unschedulable",
        parameters={"READY_TIMEOUT": "10"},
        runs_as="pinned",
    ),
    Fault(
        "the scheduler is down",
        without_component("kube-scheduler"),
        says=r"^ready: pod not ready after 4 s: Pending: no scheduler has processed it",
        parameters=SOON,
        runs_as="pinned",
    ),
    Fault(
        "the kubelet is down",
        without_component("kubelet"),
        says=r"not ready after 4 s: Pending: scheduled to node node, whose kubelet has not acknowledged it",
        parameters=SOON,
        runs_as="process",
    ),
]
