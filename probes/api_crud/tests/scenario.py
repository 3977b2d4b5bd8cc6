"""The faults that api-crud must detect: the API server and etcd down or slow, quota, admission, a finalizer."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.probes.admission import denying_policy, quota, webhook_that_adds_a_finalizer, webhook_without_endpoints
from tests.probes.component_faults import with_frozen_component, with_slow_component
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault

CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
LABELS = {"app.kubernetes.io/name": "kubeprobe-api-crud"}


@contextmanager
def api_server_down(bed: Bed) -> Iterator[None]:
    bed.testbed.kill("kube-apiserver")
    try:
        yield
    finally:
        bed.testbed.start("kube-apiserver")


@contextmanager
def quota_full(bed: Bed) -> Iterator[None]:
    with quota(bed, "no-configmaps", count_configmaps="0"):
        yield


@contextmanager
def creation_denied(bed: Bed) -> Iterator[None]:
    with denying_policy(bed, "configmaps", "CREATE", "no ConfigMaps on Fridays"):
        yield


@contextmanager
def deletion_denied(bed: Bed) -> Iterator[None]:
    with denying_policy(bed, "configmaps", "DELETE", "nothing is ever deleted"):
        yield


@contextmanager
def webhook_unreachable(bed: Bed) -> Iterator[None]:
    with webhook_without_endpoints(bed, "configmaps", "UPDATE"):
        yield


@contextmanager
def finalizer(bed: Bed) -> Iterator[None]:
    selector = {"objectSelector": {"matchLabels": LABELS}}
    with webhook_that_adds_a_finalizer(bed, "configmaps", "example.com/backup", selector):
        yield
    names = ",".join(f"{key}={value}" for key, value in LABELS.items())
    for found in bed.api.get(CONFIGMAPS, labelSelector=names)["items"]:
        bed.api.patch(f"{CONFIGMAPS}/{found['metadata']['name']}", {"metadata": {"finalizers": None}})


FAULTS = [
    Fault("the API server is down", api_server_down, says=r"^open watch: no answer from .*refused", runs_as="process"),
    Fault(
        "the API server is frozen",
        with_frozen_component("kube-apiserver"),
        says=r"^open watch: no answer from the API server .* timed out",
        parameters={"REQUEST_TIMEOUT": "3"},
        runs_as="process",
    ),
    Fault(
        "etcd is frozen",
        with_frozen_component("etcd"),
        says=r"^the API server is not ready: failed checks of /readyz: etcd",
        parameters={"REQUEST_TIMEOUT": "6"},
        runs_as="process",
    ),
    Fault(
        "etcd is slow",
        with_slow_component("etcd", 1.5),
        says=r"^(open watch|create|get|list|update|delete) took \d+ ms, more than 1000 \(MAX_LATENCY_MS\)",
        parameters={"MAX_LATENCY_MS": "1000"},
        runs_as="process",
    ),
    Fault(
        "the quota of ConfigMaps is full", quota_full, says=r"^create: 403 Forbidden: .*exceeded quota: no-configmaps"
    ),
    Fault("a policy denies creation", creation_denied, says=r"^create: .*no ConfigMaps on Fridays"),
    Fault("a policy denies deletion", deletion_denied, says=r"^delete: .*nothing is ever deleted"),
    Fault(
        "a webhook has no endpoints",
        webhook_unreachable,
        says=r'^update: 500 InternalError: .*failed calling webhook "configmaps\.no-endpoints\.example\.com".*refused',
    ),
    Fault(
        "a finalizer holds the deleted ConfigMap",
        finalizer,
        says=r"^gone: .*still exists 2 s after its deletion; finalizers: example\.com/backup",
        parameters={"DELETE_TIMEOUT": "2"},
    ),
]
