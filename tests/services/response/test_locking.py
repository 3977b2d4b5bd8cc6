"""Respond and housekeeping lock rows in one order: neither is ended by a deadlock."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import close_withdrawn, respond
from kubeprobe.store import Alert, Notification, ProbeCase, Standing
from kubeprobe.vocabulary import Verdict
from tests.harness.wait import until
from tests.services.response.given import World
from tests.services.response.test_two_responders import WAIT_S, Halting

P, F = Verdict.PASS, Verdict.FAIL


def is_waiting_for_a_lock(world: World) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with world.store.reading() as session:
        return bool(session.scalar(text(query)))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_alerts_are_withdrawn_while_a_responder_closes_them(world: World, catalogs: CatalogCache) -> None:
    """SQLite has one writer at a time."""
    world.route("team", {"name": "log", "log": {}})
    clusters = [f"prod-{number}" for number in range(2, 6)]
    world.cluster(*clusters)
    for cluster in clusters:
        world.outcome(F, 1, cluster=cluster)
    respond(world.store, catalogs, world.at(1))
    for cluster in clusters:
        world.outcome(P, 2, cluster=cluster)
    halted = Halting()
    with ThreadPoolExecutor(2) as pool:
        responding = pool.submit(respond, world.store, halted, world.at(2))
        assert halted.arrived.wait(WAIT_S), "the responder did not start"
        world.remove(ProbeCase, "pod-lifecycle")
        withdrawing = pool.submit(close_withdrawn, world.store, CatalogCache(), world.at(3))
        until("housekeeping to wait for the responder", lambda: is_waiting_for_a_lock(world))
        halted.go_on.set()
        assert responding.result(WAIT_S).deliver == [("team", "log")]
        assert not withdrawing.result(WAIT_S).deliver, "the responder has closed them"
    assert all(row.closed_at for row in world.all(Alert))
    assert sorted(row.payload["kind"] for row in world.all(Notification)) == ["failed"] * 4 + ["recovered"] * 4
    assert world.all(Standing) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_responder_locks_all_standings_before_any_alert_after_a_failed_batch(
    world: World, catalogs: CatalogCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it locks the alerts by id, as housekeeping does: here the last cluster's alert has the first id."""
    world.route("team", {"name": "log", "log": {}})
    clusters = [f"prod-{number}" for number in range(2, 6)]
    world.cluster(*clusters)
    for minute, cluster in enumerate(reversed(clusters)):
        world.outcome(F, minute, cluster=cluster)
        respond(world.store, catalogs, world.at(minute))
    for cluster in clusters:
        world.outcome(P, 9, cluster=cluster)
    functions, process = respond.__globals__, respond.__globals__["_process"]

    def fail_once(*_: object) -> None:
        monkeypatch.setitem(functions, "_process", process)
        raise LookupError("one of the batch")

    monkeypatch.setitem(functions, "_process", fail_once)
    with ThreadPoolExecutor(1) as pool:
        with world.store.writing() as session:
            session.get_one(Standing, (clusters[-1], "pod-lifecycle", ""), with_for_update=True)
            responding = pool.submit(respond, world.store, catalogs, world.at(9))
            until("the responder to wait for the standing", lambda: is_waiting_for_a_lock(world))
            free = session.scalars(select(Alert.cluster).with_for_update(nowait=True)).all()
            assert sorted(free) == clusters
            first = session.scalars(select(Alert.cluster).order_by(Alert.id)).first()
            assert first == clusters[-1]
        assert responding.result(WAIT_S).deliver == [("team", "log")]
    assert all(row.closed_at for row in world.all(Alert))
