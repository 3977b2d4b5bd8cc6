"""The faults of namespace-lifecycle: stopped controllers, an API without backend, finalizers, admission."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from probes._api import Api, ApiError
from tests.harness.wait import until
from tests.probes.admission import denying_policy, webhook_that_adds_a_finalizer
from tests.probes.during_run import on_each
from tests.probes.paths import NAMESPACE, Json
from tests.probes.scenario import Bed, Fault

NAMESPACES = "/api/v1/namespaces"
LABELS = {"app.kubernetes.io/name": "kubeprobe-namespace-lifecycle"}
NAMES = "app.kubernetes.io/name=kubeprobe-namespace-lifecycle"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


def _wait_until_all_are_deleted(bed: Bed) -> None:
    """Wait until the held objects are deleted after the fault."""
    until("the namespaces to be gone", lambda: not bed.api.get(NAMESPACES, labelSelector=NAMES)["items"], within_s=60)


@contextmanager
def controller_manager_stopped(bed: Bed) -> Iterator[None]:
    bed.testbed.stop("kube-controller-manager")
    try:
        yield
    finally:
        bed.testbed.start("kube-controller-manager")
        _wait_until_all_are_deleted(bed)


@contextmanager
def controller_manager_stops_before_the_deletion(bed: Bed) -> Iterator[None]:
    def stop(_api: Api, _namespace: Json) -> None:
        bed.testbed.stop("kube-controller-manager")

    is_deleted = on_each(
        bed.api,
        NAMESPACES,
        stop,
        lambda found: "deletionTimestamp" in found["metadata"],
        labelSelector=NAMES,
    )
    try:
        with is_deleted:
            yield
    finally:
        bed.testbed.start("kube-controller-manager")
        _wait_until_all_are_deleted(bed)


@contextmanager
def api_without_backend(bed: Bed) -> Iterator[None]:
    service = {
        "metadata": {"name": "v1.unavailable.example.com"},
        "spec": {
            "group": "unavailable.example.com",
            "version": "v1",
            "service": {"namespace": NAMESPACE, "name": "missing"},
            "groupPriorityMinimum": 1000,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
        },
    }
    with bed.cluster.having_at(API_SERVICES, service):
        yield
    _wait_until_all_are_deleted(bed)


@contextmanager
def finalizer_in_the_namespace(bed: Bed) -> Iterator[None]:
    """The default objects of the new namespace get a finalizer."""
    selector = {"namespaceSelector": {"matchLabels": LABELS}}
    with webhook_that_adds_a_finalizer(bed, "configmaps", "example.com/backup", selector):
        yield
    for name in _names(bed):
        with suppress(ApiError):  # already deleted
            bed.api.patch(f"{NAMESPACES}/{name}/configmaps/kube-root-ca.crt", {"metadata": {"finalizers": None}})
    _wait_until_all_are_deleted(bed)


@contextmanager
def finalizer_of_the_namespace(bed: Bed) -> Iterator[None]:
    selector = {"objectSelector": {"matchLabels": LABELS}}
    with webhook_that_adds_a_finalizer(bed, "namespaces", "example.com/tenant", selector):
        yield
    for name in _names(bed):
        bed.api.patch(f"{NAMESPACES}/{name}", {"metadata": {"finalizers": None}})
    _wait_until_all_are_deleted(bed)


@contextmanager
def creation_denied(bed: Bed) -> Iterator[None]:
    with denying_policy(bed, "namespaces", "CREATE", "only the portal creates namespaces"):
        yield


def _names(bed: Bed) -> list[str]:
    return [found["metadata"]["name"] for found in bed.api.get(NAMESPACES, labelSelector=NAMES)["items"]]


_SOON = {"READY_TIMEOUT": "20", "DELETE_TIMEOUT": "12"}
FAULTS = [
    Fault(
        "the controller manager is down",
        controller_manager_stopped,
        says=r"^service account: serviceaccounts/default does not exist .* "
        r"serviceaccount-controller has not created it",
        parameters={"READY_TIMEOUT": "4"},
    ),
    Fault(
        "the controller manager stops before the deletion",
        controller_manager_stops_before_the_deletion,
        says=r"^gone: .*the namespace controller \(kube-controller-manager\) has set no condition",
        parameters=_SOON,
    ),
    Fault(
        "an aggregated API has no backend",
        api_without_backend,
        says=r"^gone: namespace .* APIService v1\.unavailable\.example\.com is not available: ServiceNotFound: ",
        parameters=_SOON,
    ),
    Fault(
        "a finalizer holds an object in the namespace",
        finalizer_in_the_namespace,
        says=r"^gone: namespace .* configmaps kube-root-ca\.crt is held by the finalizer example\.com/backup",
        parameters=_SOON,
    ),
    Fault(
        "a finalizer holds the namespace itself",
        finalizer_of_the_namespace,
        says=r"^gone: namespace .* it is held by its own finalizers: example\.com/tenant",
        parameters=_SOON,
    ),
    Fault("a policy denies namespaces", creation_denied, says=r"^create: .*only the portal creates namespaces"),
]
