"""Probes of workloads, killed at a random moment: what they created goes by itself, or has the label to be swept by."""

import random
import signal
import time
from typing import Any

import pytest

from tests.harness.wait import until
from tests.probes.leftovers import remove_left_by
from tests.probes.places import PODS
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real

NAMESPACED = {"api_crud": 0.3, "job_lifecycle": 10.0, "canary_deployment": 20.0}
"""Probes whose objects belong to their pod, and about how many seconds they have such objects."""


@pytest.mark.parametrize("folder", NAMESPACED)
def test_what_a_killed_probe_created_in_its_own_namespace_goes_by_itself(bed: Bed, folder: str) -> None:
    name, run = bed.cluster.start(folder)
    until("the probe to have created something", lambda: _has_begun(bed, name))
    time.sleep(random.uniform(0, NAMESPACED[folder]))
    bed.api.delete(f"{PODS}/{name}", gracePeriodSeconds=0)
    bed.cluster.wait_until_nothing_is_left_of(run, within_s=120)


def test_a_namespace_probe_that_is_told_to_end_leaves_nothing(bed: Bed) -> None:
    probe = bed.cluster.process("namespace_lifecycle", bed.tmp)
    with probe.start("01ended") as process:
        until("its namespace", lambda: _namespaces(bed, "01ended"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    bed.cluster.wait_until_nothing_is_left_of("01ended", within_s=60)


def test_of_a_killed_namespace_probe_only_the_namespace_is_left_and_it_carries_the_runs_label(bed: Bed) -> None:
    probe = bed.cluster.process("namespace_lifecycle", bed.tmp)
    with probe.start("01killed") as process:
        [namespace] = until("its namespace", lambda: _namespaces(bed, "01killed"))
        process.kill()
        process.communicate(timeout=60)
    assert namespace["metadata"]["labels"]["kubeprobe.io/installation"] == "test"
    remove_left_by(bed.api, "01killed")
    bed.cluster.wait_until_nothing_is_left_of("01killed", within_s=60)


def _has_begun(bed: Bed, name: str) -> bool:
    """Whether the probe's container has started: it creates at once."""
    statuses = bed.api.get(f"{PODS}/{name}")["status"].get("containerStatuses") or [{}]
    return bool({"running", "terminated"} & statuses[0].get("state", {}).keys())


def _namespaces(bed: Bed, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bed.api.get("/api/v1/namespaces", labelSelector=f"kubeprobe.io/run={run}")["items"]
    return found
