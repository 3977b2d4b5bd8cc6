"""namespace-lifecycle deletes its namespace after SIGTERM. On the real cluster."""

import signal
from typing import Any

import pytest

from tests.harness.wait import until
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real


def test_no_namespace_remains_after_sigterm(bed: Bed) -> None:
    probe = bed.cluster.process("namespace_lifecycle", bed.tmp)
    with probe.start("01ended") as process:
        until("its namespace", lambda: _namespaces(bed, "01ended"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    bed.cluster.wait_until_nothing_is_left_of("01ended", within_s=60)


def _namespaces(bed: Bed, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bed.api.get("/api/v1/namespaces", labelSelector=f"kubeprobe.io/run={run}")["items"]
    return found
