"""A target that accepts connections and never responds delays neither other targets nor the processing of outcomes."""

import os
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from kubeprobe.queue import Queue
from kubeprobe.store import Outcome, Store
from kubeprobe.vocabulary import Verdict
from tests.harness.installation import Installation
from tests.harness.wait import until
from tests.services.response.given import World
from tests.services.response.receiver import Received, receiving

STALLED = 20
"""More than a responder has threads, and than Apprise has for all of its services."""
ALERTS = 40
ROOT = Path(__file__).parents[3]
PATIENT = """
from kubeprobe.response.targets import apprise, posting
posting.TIMEOUT_S = apprise.TIMEOUT_S = apprise.MAX_SOCKET_TIMEOUT_S = 600.0
"""


def patient(folder: Path) -> dict[str, str]:
    """The environment of processes that wait for a target longer than the test takes, on a slow machine too."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PATIENT)
    path = (str(folder), str(ROOT), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, path))}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_stalled_target_delays_no_other(tmp_path: Path, database_url: str, store: Store) -> None:
    world = World(store, datetime.now(UTC).replace(microsecond=0))
    world.case(severity="critical")
    names = [f"prod-{number}" for number in range(ALERTS)]
    world.cluster(*names)
    environment = patient(tmp_path / "patient")
    with receiving() as good, receiving() as stalled, Installation(tmp_path, database_url, environment) as installation:
        stalled.answers = [None]
        world.route("a-stalled", {"name": "hook", "webhook": {"url": stalled.url}})
        world.route("good", {"name": "hook", "webhook": {"url": good.url}})
        for name in ("valkey", "responder"):
            installation.start(name)
        until("the responder to be ready", lambda: "ready." in installation.log("responder"), within_s=120)
        for name in names:
            world.outcome(Verdict.FAIL, 0, cluster=name)
        queue = Queue.connect(installation.broker_url)
        assert queue.wake_responder()
        until("the good target to have every message", lambda: len(_clusters(good.received)) == ALERTS, within_s=120)
        until("a message to the stalled target", lambda: stalled.received)
        assert len(stalled.received) == 1, "one message is tried, the others wait"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", ["webhook", "apprise"])
def test_outcomes_are_processed_and_sent_while_many_targets_stall(
    tmp_path: Path, database_url: str, store: Store, kind: str
) -> None:
    world = World(store, datetime.now(UTC).replace(microsecond=0))
    world.case()
    world.cluster("prod-1", "prod-2")
    environment = patient(tmp_path / "patient")
    with receiving() as good, receiving() as stalled, Installation(tmp_path, database_url, environment) as installation:
        stalled.answers = [None]
        url = stalled.url if kind == "webhook" else stalled.url.replace("http://", "json://") + "?rto=3600"
        for number in range(STALLED):
            world.route(f"stalled-{number}", {"name": "hook", kind: {"url": url}})
        for name in ("valkey", "responder"):
            installation.start(name)
        until("the responder to be ready", lambda: "ready." in installation.log("responder"), within_s=120)
        queue = Queue.connect(installation.broker_url)
        world.outcome(Verdict.FAIL, 0)
        assert queue.wake_responder()
        until("every target to have a request", lambda: len(stalled.received) == STALLED, within_s=120)
        world.route("good", {"name": "hook", kind: {"url": url.replace(stalled.url[7:], good.url[7:])}})
        world.outcome(Verdict.FAIL, 0, cluster="prod-2")
        assert queue.wake_responder()
        until("the outcome to be processed", lambda: all(row.responded_at for row in world.all(Outcome)), within_s=120)
        until("the good target to have its message", lambda: len(good.received) == 1, within_s=120)
        assert "notification not delivered" not in installation.log("responder"), "no target has timed out yet"
        assert len(stalled.received) == STALLED, "nothing is sent twice at a time"


def _clusters(received: list[Received]) -> set[str]:
    return {orjson.loads(request.body)["cluster"] for request in received}
