"""The faults of etcd-backup, on the real cluster: damaged and lost snapshots of its own etcd; disconnected standbys."""

import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from testbed.instance import NODE_ADDRESS
from tests.harness.wait import until
from tests.probes.etcds import apply_client_secret, etcd_cluster, save_snapshot
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault

CLAIM = "kubeprobe-etcd-backups"
VOLUME = f"{CLAIM}-test"
ETCD = "main"
SOON = {"CATCH_UP_TIMEOUT": "2"}


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """Three snapshots of the cluster's own etcd, on a volume."""
    folder = _folder(bed)
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    newest = _path(folder, hours=1)
    save_snapshot(bed.testbed.instance, f"https://{NODE_ADDRESS}:2379", newest)
    for hours in (25, 49):
        shutil.copy(newest, _path(folder, hours))
    for file in folder.iterdir():
        file.chmod(0o644)
        os.utime(file, (time.time() - 3600,) * 2)
    bed.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _volume(folder.parent)})
    )
    apply_client_secret(bed)
    try:
        yield {"ETCDS": ETCD}
    finally:
        # Wait for the deletion, so that a new one is not confused with it.
        bed.kubectl("-n", NAMESPACE, "delete", "pvc", CLAIM, "--timeout=50s")
        bed.kubectl("delete", "pv", VOLUME, "--timeout=50s")


def _folder(bed: Bed) -> Path:
    return bed.tmp / "etcd-backups" / ETCD


def _path(folder: Path, hours: float) -> Path:
    made = datetime.now(UTC) - timedelta(hours=hours)
    return folder / f"etcd-{made:%Y-%m-%dT%H-%M-%S}.db"


def _newest(bed: Bed) -> Path:
    return max(_folder(bed).iterdir())


def _volume(path: Path) -> list[dict[str, object]]:
    claim = {"metadata": {"name": CLAIM, "namespace": NAMESPACE}, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    volume = {"metadata": {"name": VOLUME}, "apiVersion": "v1", "kind": "PersistentVolume"}
    size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
    claim["spec"] = {
        "storageClassName": "",
        "volumeName": VOLUME,
        "accessModes": modes,
        "resources": {"requests": size},
    }
    volume["spec"] = {"capacity": size, "accessModes": modes, "hostPath": {"path": str(path)}, "storageClassName": ""}
    return [volume, claim]


@contextmanager
def _newest_replaced(bed: Bed, content: bytes) -> Iterator[None]:
    """The newest backup with other content; it was written an hour ago."""
    file = _newest(bed)
    whole = file.read_bytes()

    def write(what: bytes) -> None:
        file.write_bytes(what)
        os.utime(file, (time.time() - 3600,) * 2)

    write(content)
    try:
        yield
    finally:
        write(whole)


@contextmanager
def byte_changed(bed: Bed) -> Iterator[None]:
    whole = bytearray(_newest(bed).read_bytes())
    whole[len(whole) // 2] ^= 0x01
    with _newest_replaced(bed, bytes(whole)):
        yield


@contextmanager
def byte_changed_in_zip(bed: Bed) -> Iterator[None]:
    """A snapshot as K3s compresses it, of a database that was damaged before."""
    whole = bytearray(_newest(bed).read_bytes())
    whole[len(whole) // 2] ^= 0x01
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("etcd-snapshot-server-1-1764086405", bytes(whole))
    with _newest_replaced(bed, packed.getvalue()):
        yield


@contextmanager
def cut_off(bed: Bed) -> Iterator[None]:
    whole = _newest(bed).read_bytes()
    with _newest_replaced(bed, whole[: len(whole) // 2]):
        yield


@contextmanager
def pages_lost(bed: Bed) -> Iterator[None]:
    """A copy of the database's file, which has no SHA-256, with its first megabyte but the meta pages zeroed."""
    whole = _newest(bed).read_bytes()[:-32]
    with _newest_replaced(bed, whole[:8192] + bytes(1 << 20) + whole[8192 + (1 << 20) :]):
        yield


@contextmanager
def too_old(bed: Bed) -> Iterator[None]:
    """The newest backup is missing; the next one is more than a day old, with a recent modification time."""
    newest = _newest(bed)
    aside = bed.tmp / newest.name
    newest.rename(aside)
    try:
        yield
    finally:
        aside.rename(newest)


@contextmanager
def one_without_backup(_bed: Bed) -> Iterator[dict[str, str]]:
    yield {"ETCDS": f"{ETCD} tenant-a"}


@contextmanager
def unknown_etcd(bed: Bed) -> Iterator[None]:
    """An etcd in the cluster, such as a virtual cluster's, that is in no list of backups."""
    namespace = {"metadata": {"name": "tenant-b"}}
    pod = {
        "metadata": {"name": "etcd-0", "labels": {"component": "etcd"}},
        "spec": {
            "containers": [{"name": "etcd", "image": "docker.io/kubeprobe/pause:dev"}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    bed.api.create("/api/v1/namespaces", namespace)
    accounts = "/api/v1/namespaces/tenant-b/serviceaccounts"
    until("the namespace's account", lambda: bed.api.get(accounts)["items"])
    bed.api.create("/api/v1/namespaces/tenant-b/pods", pod)
    try:
        yield
    finally:
        bed.kubectl("delete", "namespace", "tenant-b")


@contextmanager
def empty(bed: Bed) -> Iterator[None]:
    """A backup of an etcd that was started with an empty directory."""
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        file = bed.tmp / "empty.db"
        cluster.snapshot(file)
    with _newest_replaced(bed, file.read_bytes()):
        yield


@contextmanager
def no_learner(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        yield {"STANDBYS": f"{ETCD}={cluster.members[0].url}"}


@contextmanager
def learner_unavailable(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        cluster.kill(cluster.add_learner())
        yield {"STANDBYS": f"{ETCD}={cluster.members[0].url}"}


@contextmanager
def learner_lags(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        cluster.cut_off(cluster.add_learner())
        for number in range(150):
            cluster.put(f"key-{number}", "value")
        yield {"STANDBYS": f"{ETCD}={cluster.members[0].url}"}


@contextmanager
def mirror_stopped(bed: Bed) -> Iterator[dict[str, str]]:
    """A mirror whose `make-mirror` has ended, with the state of that time."""
    instance = bed.testbed.instance
    with (
        etcd_cluster(instance, bed.tmp, 1) as primary,
        etcd_cluster(instance, bed.tmp, 1, first_port=23890) as mirror,
    ):
        mirror.put("heartbeat", "1")
        primary.put("heartbeat", "2")
        yield {"STANDBYS": f"{ETCD}={primary.members[0].url}>{mirror.members[0].url}", "MIRROR_KEY": "heartbeat"}


FAULTS = [
    Fault("a byte of the etcd backup is changed", byte_changed, says=r"^etcd main: backup \S+ is invalid: its SHA-256"),
    Fault(
        "a byte of the zipped etcd backup is changed",
        byte_changed_in_zip,
        says=r"^etcd main: backup \S+ is invalid: its SHA-256",
    ),
    Fault("the etcd backup is cut off", cut_off, says=r"^etcd main: backup \S+ is invalid: it is cut off"),
    Fault(
        "pages of the etcd backup are lost", pages_lost, says=r"^etcd main: backup \S+ is invalid: page \d+ is damaged"
    ),
    Fault("the last etcd backup is too old", too_old, says=r"^etcd main: the last valid backup \S+ is 2\d\.\d h old"),
    Fault("an etcd has no backup", one_without_backup, says=r"^etcd tenant-a: no backup$"),
    Fault("an etcd that is not listed has no backup", unknown_etcd, says=r"^etcd tenant-b: no backup$"),
    Fault(
        "an etcd that is not listed has no standby",
        unknown_etcd,
        says=r"^etcd tenant-b: no standby is known",
        parameters={"REQUIRE_STANDBY": "true"},
    ),
    Fault("the etcd backup is empty", empty, says=r"^etcd main: backup \S+ is empty"),
    Fault("an etcd has no standby", no_learner, says=r"^etcd main: no learner among its 1 members"),
    Fault(
        "etcd's standby is unavailable",
        learner_unavailable,
        says=r"^etcd main: standby etcd-2 is unavailable",
        parameters=SOON,
    ),
    Fault(
        "etcd's standby lags", learner_lags, says=r"standby etcd-2 \(\S+\) is 1\d\d revisions behind", parameters=SOON
    ),
    Fault("etcd's mirror has stopped", mirror_stopped, says=r"has an older value of heartbeat", parameters=SOON),
]
