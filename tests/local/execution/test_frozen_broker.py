"""A broker that stops answering, with the real processes: nothing waits for it, and all goes on once it answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, func, select

from kubeprobe.clock import utc_now
from kubeprobe.store import Outcome, Run, Schedule
from kubeprobe.vocabulary import Reason, Trigger
from tests.harness.freeze import frozen
from tests.harness.installation import Installation
from tests.harness.wait import until
from tests.local.execution.environment import PASS, Environment

READY = {"beat": "beat: Starting", "launcher": "ready.", "responder": "ready."}


@pytest.fixture
def processes(env: Environment, tmp_path: Path) -> Iterator[Installation]:
    """All processes over the store of `env`, and a schedule that is due every second."""
    with env.store.writing() as session:
        schedule = {"binding": "b", "case": "shell", "cluster": "local", "pool": "default", "every_s": 1}
        session.add(Schedule(next_due=utc_now(), **schedule))
    with Installation(tmp_path, f"sqlite:///{tmp_path / 'kubeprobe.db'}") as started:
        started.start_all()
        for name, line in READY.items():
            until(f"{name} to be ready", lambda n=name, it=line: it in started.log(n), 120)
        until("the collector's lease", lambda: env._cluster().collector, 120)
        yield started


def _slots(env: Environment) -> int:
    with env.store.reading() as session:
        return session.exec(select(func.count()).where(col(Run.trigger) == Trigger.PERIODIC)).one()


def _unprocessed(env: Environment) -> set[str]:
    with env.store.reading() as session:
        return set(session.exec(select(Outcome.run_id).where(col(Outcome.responded_at).is_(None))))


def test_a_frozen_broker_stops_neither_outcomes_nor_slots_and_all_goes_on_afterwards(
    env: Environment, processes: Installation
) -> None:
    waiting = env.start(env.at_the_gate + PASS)
    with frozen(processes.pids()["valkey.0"]):
        env.open_the_gate()
        assert env.outcome(waiting).reason == Reason.PASSED
        for _ in range(3):  # after the first outcome the collector has published, and the broker has not answered
            assert env.outcome(env.start()).reason == Reason.PASSED
        before = _slots(env)
        until("beat to open slots", lambda: _slots(env) >= before + 5, 120)
        until("the collector to give up", lambda: "broker unavailable" in processes.log("collector"), 120)
    assert env.outcome(env.open(), 120).reason == Reason.PASSED, "a launcher receives messages again"
    stored = _unprocessed(env)  # the schedule stores more each second
    until("a responder to process what was stored", lambda: not stored & _unprocessed(env), 120)
    assert processes.ended() == []
