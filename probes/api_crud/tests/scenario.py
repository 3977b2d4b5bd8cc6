"""The faults that api-crud has to find: the API server and etcd frozen or gone, quota, admission, a finalizer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from probes._api import Api, ApiError
from tests.probes.admission import denying_policy, quota, webhook_without_endpoints
from tests.probes.meanwhile import on_each
from tests.probes.places import NAMESPACE, Json
from tests.probes.scenario import Bed, Fault

CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
NAMES = "app.kubernetes.io/name=kubeprobe-api-crud"


@contextmanager
def _frozen_in_the_midst(bed: Bed, component: str, seconds: float) -> Iterator[None]:
    """As soon as the ConfigMap is there the component freezes, and wakes so many seconds later."""

    def freeze(_api: Api, _configmap: Json) -> None:
        bed.testbed.pause(component)
        threading.Timer(seconds, bed.testbed.resume, [component]).start()

    with on_each(bed.api, CONFIGMAPS, freeze, labelSelector=NAMES):
        try:
            yield
        finally:
            bed.testbed.resume(component)


@contextmanager
def api_server_frozen(bed: Bed) -> Iterator[None]:
    with _frozen_in_the_midst(bed, "kube-apiserver", 12):
        yield


@contextmanager
def etcd_frozen(bed: Bed) -> Iterator[None]:
    with _frozen_in_the_midst(bed, "etcd", 16):
        yield


@contextmanager
def etcd_hesitates(bed: Bed) -> Iterator[None]:
    with _frozen_in_the_midst(bed, "etcd", 2):
        yield


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
def webhook_away(bed: Bed) -> Iterator[None]:
    with webhook_without_endpoints(bed, "configmaps", "UPDATE"):
        yield


@contextmanager
def finalizer(bed: Bed) -> Iterator[None]:
    held: list[str] = []

    def hold(api: Api, configmap: Json) -> None:
        path = f"{CONFIGMAPS}/{configmap['metadata']['name']}"
        api.patch(path, {"metadata": {"finalizers": ["example.com/backup"]}})
        held.append(path)

    with on_each(bed.api, CONFIGMAPS, hold, labelSelector=NAMES):
        yield
    for path in held:
        try:
            bed.api.patch(path, {"metadata": {"finalizers": None}})
        except ApiError as error:
            if error.status != 404:
                raise


_IN_THE_MIDST = r"^(get|list|update|conflict|delete|gone|watch): "
FAULTS = [
    Fault(
        "the API server is down",
        api_server_down,
        says=r"^open watch: no answer from .*(refused|reset)",
        runs_as="process",
    ),
    Fault(
        "the API server freezes in the midst",
        api_server_frozen,
        says=_IN_THE_MIDST + r"no answer from the API server .* timed out",
        parameters={"REQUEST_TIMEOUT": "3"},
    ),
    Fault(
        "etcd freezes in the midst",
        etcd_frozen,
        says=r"^the API server says of itself: not ready: etcd",
        parameters={"REQUEST_TIMEOUT": "6"},
    ),
    Fault(
        "etcd hesitates for two seconds",
        etcd_hesitates,
        says=r"^(get|list|update|delete) took \d+ ms, more than 1000 \(MAX_LATENCY_MS\)",
        parameters={"MAX_LATENCY_MS": "1000"},
    ),
    Fault(
        "the quota of ConfigMaps is full", quota_full, says=r"^create: 403 Forbidden: .*exceeded quota: no-configmaps"
    ),
    Fault("a policy denies creation", creation_denied, says=r"^create: .*no ConfigMaps on Fridays"),
    Fault("a policy denies deletion", deletion_denied, says=r"^delete: .*nothing is ever deleted"),
    Fault(
        "a webhook has no endpoints",
        webhook_away,
        says=r'^update: 500 InternalError: .*failed calling webhook "configmaps\.away\.example\.com".*refused',
    ),
    Fault(
        "a finalizer holds what is deleted",
        finalizer,
        says=r"^gone: .*is not gone 2 s after its deletion; finalizers: example\.com/backup",
        parameters={"DELETE_TIMEOUT": "2"},
    ),
]
