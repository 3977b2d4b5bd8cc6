"""pod-lifecycle cleans up after SIGTERM, and Kubernetes does if it is killed. On the real cluster."""

import signal

import pytest

from tests.harness.wait import until
from tests.probes.paths import PODS
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real

MISSING_IMAGE = "docker.io/kubeprobe/nothing-here:dev"


def test_the_probe_cleans_up_after_sigterm(bed: Bed) -> None:
    probe = bed.cluster.process("pod_lifecycle", bed.tmp, IMAGE=MISSING_IMAGE)
    with probe.start("01ended") as process:
        until("the probe's pod", lambda: bed.cluster.pods_of("01ended"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert not probe.report.exists()
    bed.cluster.wait_until_nothing_is_left_of("01ended")


def test_kubernetes_deletes_the_pod_of_a_killed_probe(bed: Bed) -> None:
    name, run = bed.cluster.start("pod_lifecycle", IMAGE=MISSING_IMAGE, READY_TIMEOUT="60")
    until("the probe's pod", lambda: bed.cluster.pods_of(run))
    bed.api.delete(f"{PODS}/{name}", gracePeriodSeconds=0)
    bed.cluster.wait_until_nothing_is_left_of(run, within_s=60)
