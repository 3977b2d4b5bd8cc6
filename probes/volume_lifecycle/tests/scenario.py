"""The faults that volume-lifecycle must detect, on the real cluster with a CSI driver."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from probes._api import ApiError
from tests.harness.wait import until
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault, State
from tests.probes.storage import CLASS, DRIVER, Storage, storage, storage_class

SOON = {"BIND_TIMEOUT": "5", "MOUNT_TIMEOUT": "8", "EXPAND_TIMEOUT": "5", "DELETE_TIMEOUT": "5"}
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
FINALIZER = "kubeprobe.test/stuck"

_running: dict[int, Storage] = {}
"""The storage of the bed, from `healthy`, for faults."""


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A StorageClass whose driver works."""
    with storage(bed) as found:
        _running[id(bed)] = found
        yield {"STORAGE_CLASS": CLASS}


def _storage(bed: Bed) -> Storage:
    return _running[id(bed)]


def without(process: str) -> State:
    """A state in which one process of the driver is killed."""

    @contextmanager
    def killed(bed: Bed) -> Iterator[None]:
        found = _storage(bed)
        found.kill(process)
        try:
            yield
        finally:
            found.start(process)

    return killed


@contextmanager
def node_frozen(bed: Bed) -> Iterator[None]:
    """The driver on the node is suspended and keeps its connections: a mount hangs."""
    found = _storage(bed)
    found.pause("node")
    try:
        yield
    finally:
        found.resume("node")


@contextmanager
def provisioner_uninstalled(bed: Bed) -> Iterator[dict[str, str]]:
    """A StorageClass whose provisioner was uninstalled."""
    path = "/apis/storage.k8s.io/v1/storageclasses"
    with bed.cluster.having_at(path, storage_class("left-behind", "gone.csi.example.com")):
        yield {"STORAGE_CLASS": "left-behind"}


@contextmanager
def capacity_used_up(bed: Bed) -> Iterator[None]:
    """Another claim uses nearly all of the driver's capacity."""
    spec = {
        "storageClassName": CLASS,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "9900Mi"}},
    }
    claim = {"metadata": {"name": "large"}, "spec": spec}
    with bed.cluster.having_at(CLAIMS, claim):
        until("the large claim to be bound", lambda: bed.api.get(f"{CLAIMS}/large")["status"].get("phase") == "Bound")
        yield
    until("the large claim to be deleted", lambda: "large" not in _claims(bed))


@contextmanager
def quota_full(bed: Bed) -> Iterator[None]:
    """The namespace may not claim any storage."""
    quota = {"metadata": {"name": "no-storage"}, "spec": {"hard": {"requests.storage": "0"}}}
    with bed.cluster.having(NAMESPACE, "resourcequotas", quota):
        path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/no-storage"
        until("the quota to be counted", lambda: bed.api.get(path).get("status", {}).get("hard"))
        yield


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """While a function runs repeatedly, in parallel with the probe."""
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.wait(0.05):
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(10)


@contextmanager
def data_changed(bed: Bed) -> Iterator[None]:
    """Another program writes to the volume's directory."""
    found = _storage(bed)

    def overwrite() -> None:
        for file in found.volumes.glob("*/data/kubeprobe"):
            with suppress(FileNotFoundError):  # the volume is deleted meanwhile
                if file.read_text() not in ("", "something else\n"):
                    file.write_text("something else\n")

    with _meanwhile(overwrite):
        yield


@contextmanager
def volume_deletions_blocked(bed: Bed) -> Iterator[None]:
    """Every volume gets a finalizer that is never removed."""
    with bed.for_a_thread() as own:

        def add_finalizer() -> None:
            for volume in own.api.get(VOLUMES)["items"]:
                finalizers = volume["metadata"].get("finalizers") or []
                if FINALIZER not in finalizers and "deletionTimestamp" not in volume["metadata"]:
                    _set_finalizers(own, volume["metadata"]["name"], [*finalizers, FINALIZER])

        with _meanwhile(add_finalizer):
            yield
    until("the volumes to be deleted", lambda: _remove_finalizer(bed) is None and not _own_volumes(bed))


def _remove_finalizer(bed: Bed) -> None:
    """Remove the finalizer from all volumes; one that changes meanwhile is handled in the next round."""
    for volume in bed.api.get(VOLUMES)["items"]:
        finalizers = volume["metadata"].get("finalizers") or []
        if FINALIZER in finalizers:
            _set_finalizers(bed, volume["metadata"]["name"], [name for name in finalizers if name != FINALIZER])


def _claims(bed: Bed) -> list[str]:
    return [claim["metadata"]["name"] for claim in bed.api.get(CLAIMS)["items"]]


def _own_volumes(bed: Bed) -> list[str]:
    found = bed.api.get(VOLUMES)["items"]
    return [volume["metadata"]["name"] for volume in found if volume["spec"].get("storageClassName") == CLASS]


def _set_finalizers(bed: Bed, name: str, finalizers: list[str]) -> None:
    try:
        bed.api.patch(f"{VOLUMES}/{name}", {"metadata": {"finalizers": finalizers}})
    except ApiError as error:
        if error.status not in (404, 409, 422):
            raise


FAULTS = [
    Fault(
        "the storage provisioner is down",
        without("csi-provisioner"),
        says=rf"^bind: claim \S+ not bound after 5 s: Pending: provisioner {DRIVER} of StorageClass {CLASS} "
        r"has created no volume",
        parameters=SOON,
    ),
    Fault(
        "a storage class has no provisioner",
        provisioner_uninstalled,
        says=r"^bind: claim \S+ not bound .* provisioner gone.csi.example.com of StorageClass left-behind "
        r"has created no volume",
        parameters=SOON,
    ),
    Fault("the storage is used up", capacity_used_up, says=r"event ProvisioningFailed: .*no room for", parameters=SOON),
    Fault("the storage quota is full", quota_full, says=r"^claim: 403 Forbidden: .*exceeded quota: no-storage"),
    Fault(
        "the storage driver is down on the node",
        without("node"),
        says=r"event FailedMount: .*directory.csi.kubeprobe.io|event FailedMount: .*connection refused",
        parameters=SOON,
    ),
    Fault(
        "a mount hangs",
        node_frozen,
        says=r"^write: pod not finished after 8 s: (Pending|ContainerCreating)",
        parameters=SOON,
    ),
    Fault(
        "the storage resizer is down",
        without("csi-resizer"),
        says=r"^expand: claim \S+ not expanded to 2Gi after 5 s: its capacity is still 1Gi",
        parameters={"EXPAND_TIMEOUT": "5"},
    ),
    Fault(
        "written data is lost",
        data_changed,
        says=r"^read: written data is lost: '[0-9a-f]+' was written, another pod reads 'something else'",
    ),
    Fault(
        "a volume is held by a finalizer",
        volume_deletions_blocked,
        says=rf"^reclaim: volume \S+ not deleted 10 s after its claim: Released, held by the finalizers .*"
        rf"{FINALIZER}",
        parameters={"DELETE_TIMEOUT": "10"},
    ),
]
