"""volume-lifecycle leaves neither claim nor pod nor volume if it is killed, early or late."""

import pytest

from tests.harness.wait import until
from tests.probes.paths import NAMESPACE, PODS
from tests.probes.scenario import Bed
from tests.probes.storage import CLASS, storage

pytestmark = pytest.mark.real

CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"


def claims(bed: Bed, run: str) -> list[str]:
    found = bed.api.get(CLAIMS, labelSelector=f"kubeprobe.io/run={run}")["items"]
    return [claim["status"].get("phase", "") for claim in found]


def volumes(bed: Bed) -> list[str]:
    found = bed.api.get("/api/v1/persistentvolumes")["items"]
    return [one["metadata"]["name"] for one in found if one["spec"].get("storageClassName") == CLASS]


@pytest.mark.parametrize("moment", ["claimed", "bound", "mounted"])
def test_a_killed_probe_leaves_nothing(bed: Bed, moment: str) -> None:
    with storage(bed):
        name, run = bed.cluster.start("volume_lifecycle", STORAGE_CLASS=CLASS)
        reached = {
            "claimed": lambda: claims(bed, run),
            "bound": lambda: "Bound" in claims(bed, run),
            "mounted": lambda: bed.cluster.pods_of(run),
        }
        until(f"a volume to be {moment}", reached[moment], 60, 0.05)
        bed.api.delete(f"{PODS}/{name}", gracePeriodSeconds=0)
        bed.cluster.wait_until_nothing_is_left_of(run, within_s=90)
        until("the volume to be deleted too", lambda: not volumes(bed), 60)
