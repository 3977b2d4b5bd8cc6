"""The watch of one cluster: invalid objects and connections, and its client."""

import asyncio
import gc
import threading
import weakref
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from kubeprobe.execution import locations
from kubeprobe.execution.collect.committer import Finished
from kubeprobe.execution.collect.context import WatchContext, cancel_and_wait
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.execution.collect.sweeper import Sweeper
from kubeprobe.execution.collect.troubles import SHOWN_AFTER
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.leftovers import LeftoverRepository
from kubeprobe.execution.locations import location_id, location_ids
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.fleet.errors import Cause, cluster_error
from kubeprobe.fleet.reflector import ListFailed
from kubeprobe.runs import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, PodLocation
from kubeprobe.vocabulary import ANNOTATION_POLICY, LABEL_ATTEMPT, LABEL_RUN, Reason, Verdict
from tests.unit.execution.given import CREATED, container, pod

CIPHER = Cipher("A" * 43 + "=")
POLICY = '{"verdictFrom": "report", "startS": 60, "runS": 90, "retries": 1}'


def cluster(kind: Any) -> Cluster:
    sealed = CIPHER.seal_values({"kind": kind, "config": {}})
    return Cluster(name="c", connection_kind="in-cluster", connection=sealed, created_at=CREATED)


def with_labels(found: dict[str, Any]) -> dict[str, Any]:
    labels = {LABEL_RUN: "r", LABEL_ATTEMPT: "1"}
    return found | {"metadata": found["metadata"] | {"labels": labels, "annotations": {ANNOTATION_POLICY: POLICY}}}


def watch_at(now: datetime, clients: ClusterClients) -> ClusterWatch:
    nothing = cast("Any", None)
    context = WatchContext(nothing, clients, nothing, Settings(), "i", clock=lambda: now)
    return ClusterWatch(cluster("in-cluster"), context, "here")


def test_a_pod_that_cannot_be_judged_is_logged_once_and_shown() -> None:
    late = CREATED + timedelta(hours=1)
    watch = watch_at(late, ClusterClients(CIPHER))
    broken = with_labels(pod({"containerStatuses": [container(terminated={"reason": "Error"})]}))
    with capture_logs() as logs:
        watch._observe(broken)
        watch.check_deadlines(late)
        watch.check_deadlines(late)
    assert [line["event"] for line in logs] == ["pod cannot be judged"]
    assert "kp-x: cannot be judged: KeyError('exitCode')" in watch.trouble


@pytest.mark.parametrize("is_former", [True, False])
async def test_a_former_location_that_is_unreachable_is_shown(*, is_former: bool) -> None:
    """The cluster's breaker shows that its present location is; it knows nothing about others."""
    clients = ClusterClients(CIPHER)
    watch = watch_at(CREATED, clients)
    row = watch.cluster.model_dump(include={"namespace", "connection", "connection_version"})
    former = PodLocation(id="there", cluster="c", cluster_created_at=CREATED, **row)
    if is_former:
        watch = ClusterWatch(watch.cluster, watch._context, "there", former)
    watch._has_ended = True  # its breaker has no store here
    for _ in range(SHOWN_AFTER):
        await watch._handle(ListFailed(cluster_error(Cause.CLUSTER_UNREACHABLE, "cannot connect")))
    assert watch.trouble == ("pods not followed: cannot connect" if is_former else "")


@pytest.mark.parametrize("kind", ["of-a-newer-version", None, 3])
def test_a_connection_of_an_unknown_kind_has_a_location(kind: Any) -> None:
    clients = ClusterClients(CIPHER)
    assert location_id(cluster(kind), clients) == location_id(cluster(kind), clients)


async def test_pods_and_nodes_of_a_cluster_share_one_client() -> None:
    clients = ClusterClients(CIPHER)
    watch = watch_at(CREATED, clients)
    assert await watch.nodes._reflector._connect() is await watch.connect()
    assert len(clients._entries) == 1
    await clients.close()


async def test_a_watch_that_has_ended_leaves_failed_deletions_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)  # unreachable
    clients = ClusterClients(CIPHER)
    watch = watch_at(CREATED, clients)
    following = asyncio.create_task(watch.run())
    await asyncio.sleep(0)  # it has begun
    await cancel_and_wait(following)
    seen = PodObservation.read(with_labels(pod()))
    assert seen is not None
    watch._finishing.add(seen.uid)
    passed = Judgement(Verdict.PASS, Reason.PASSED)
    with capture_logs() as logs:
        await asyncio.wait_for(watch.finish(Finished(watch, seen.ending(passed), seen)), 10)
    assert [line["event"] for line in logs] == ["pod not deleted"]
    await clients.close()


async def test_the_sweeper_forgets_clusters_that_are_no_longer_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)  # unreachable
    clients = ClusterClients(CIPHER)
    watch = watch_at(CREATED, clients)
    sweeper, gone = Sweeper(watch._context), weakref.ref(watch)
    monkeypatch.setattr(LeftoverRepository, "targets", lambda *_: ())
    watch.probe_killed_at = CREATED - timedelta(hours=1)
    sweeper.start_if_due(watch, CREATED)
    name = watch.cluster.name
    sweeper.keep([name])
    assert list(sweeper._last_swept) == [name]
    sweeper.keep([])
    assert not sweeper._last_swept
    await sweeper.close()
    await clients.close()
    del watch
    gc.collect()
    assert gone() is None


async def test_a_secret_key_that_cannot_be_read_blocks_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system whose server is gone."""
    released = threading.Event()

    class Silent(Cipher):
        def open(self, sealed: bytes) -> Connection:
            released.wait()
            return super().open(sealed)

    monkeypatch.setattr(locations, "READ_WITHIN_S", 0.05)
    clients = ClusterClients(Silent("A" * 43 + "="))
    with pytest.raises(TimeoutError, match=r"the secret key was not read within 0.05 s"):
        await location_ids([cluster("in-cluster")], clients)
    released.set()
