"""One inconsistent row stops nothing but itself, and is reported."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from kubeprobe.catalog import CatalogCache
from kubeprobe.catalog.model.route import SecretSource
from kubeprobe.health.facts import run_health
from kubeprobe.jsonmodel import from_json
from kubeprobe.response import close_withdrawn, respond
from kubeprobe.response.fold import AlertEvent
from kubeprobe.response.message import Message
from kubeprobe.response.outbox import Versions, new_notification
from kubeprobe.response.routes import TargetRef
from kubeprobe.response.targets import TemporaryTargetError
from kubeprobe.response.targets.secret import read_secret
from kubeprobe.store import Alert, AlertRoute, Notification, Outcome, ProbeCase, ResponseError, Standing
from kubeprobe.vocabulary import Verdict
from tests.services.response.given import World, newest, send

P, F = Verdict.PASS, Verdict.FAIL
LOG = {"name": "log", "log": {}}


def _unknown_kind(session: Session, alert: Alert, _opened: Notification) -> None:
    alert.kind = "no-kind"


def _closing_exists(session: Session, alert: Alert, opened: Notification) -> None:
    message = from_json(Message, opened.payload)
    session.add(new_notification(alert, AlertEvent.CLOSED, TargetRef("team", "log"), message, opened.next_attempt_at))


@pytest.mark.parametrize("break_it", [_unknown_kind, _closing_exists])
def test_an_inconsistent_alert_stops_no_other(
    world: World, catalogs: CatalogCache, break_it: Callable[[Session, Alert, Notification], None]
) -> None:
    world.route("team", LOG)
    world.cluster("prod-2")
    world.outcome(F, 1)
    respond(world.store, catalogs, world.at(1))
    with world.store.writing() as session:
        (alert,), (opened,) = world.all(Alert), world.all(Notification)
        break_it(session, session.merge(alert), session.merge(opened))
    broken = world.outcome(P, 2)
    world.outcome(F, 2, cluster="prod-2")
    assert respond(world.store, catalogs, world.at(3)).deliver == [("team", "log")]
    assert all(row.responded_at for row in world.all(Outcome)), "none is tried again and again"
    assert sorted(row.cluster for row in world.all(Alert) if row.closed_at is None) == ["prod-1", "prod-2"]
    (error,) = world.all(ResponseError)
    assert (error.cluster, error.case, error.run_id, error.outcomes) == ("prod-1", "pod-lifecycle", broken, 1)
    with world.store.reading() as session:
        (shown,) = run_health(session, world.at(4)).set_aside
        assert shown.startswith("1 of pod-lifecycle on prod-1: ")
        assert run_health(session, world.at(4 + 25 * 60)).set_aside == ()


def test_an_opening_that_cannot_be_read_closes_all_the_same(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG)
    world.outcome(F, 1)
    respond(world.store, catalogs, world.at(1))
    send(world, catalogs, world.at(1), "log")
    with world.store.writing() as session:
        session.get_one(Notification, newest(world)).payload = {"kind": "failed"}
    world.outcome(P, 2)
    respond(world.store, catalogs, world.at(2))
    (closing,) = [row for row in world.all(Notification) if row.event == "closed"]
    assert closing.payload["title"] == "[recovered] pod-lifecycle passes again on prod-1"
    assert world.all(ResponseError) == []


def test_a_withdrawn_alert_with_an_unreadable_row_stops_no_other(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG)
    world.cluster("prod-2")
    for name in ("prod-1", "prod-2"):
        world.outcome(F, 1, cluster=name)
    respond(world.store, catalogs, world.at(1))
    with world.store.writing() as session:
        (alert,) = [row for row in world.all(Alert) if row.cluster == "prod-1"]
        (opened,) = [row for row in world.all(Notification) if row.cluster == "prod-1"]
        session.merge(opened).payload = {}
        session.merge(alert).kind = "no-kind"
    world.remove(ProbeCase, "pod-lifecycle")
    assert close_withdrawn(world.store, catalogs, world.at(2)).deliver == [("team", "log")]
    assert all(row.closed_at for row in world.all(Alert))


def test_an_unavailable_database_sets_nothing_aside(
    world: World, catalogs: CatalogCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.outcome(F, 1)

    def fail(*_: object) -> Versions:
        raise OperationalError("SELECT", {}, Exception("connection lost"))

    with monkeypatch.context() as patched:
        patched.setattr(Versions, "read", fail)
        with pytest.raises(OperationalError):
            respond(world.store, catalogs, world.at(1))
    assert world.all(Standing) == []
    respond(world.store, catalogs, world.at(1))
    assert len(world.all(Standing)) == 1
    assert world.all(ResponseError) == []


def test_outcomes_are_counted_once_they_are_committed(
    world: World, catalogs: CatalogCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.route("team", LOG)
    world.cluster("prod-2")
    for cluster in ("prod-1", "prod-2"):
        world.outcome(F, 1, cluster=cluster)
    respond(world.store, catalogs, world.at(1))
    with world.store.writing() as session:
        for alert in world.all(Alert):
            session.merge(alert).kind = "no-kind"
    for cluster in ("prod-1", "prod-2"):
        world.outcome(P, 2, cluster=cluster)
    counted: list[int] = []
    monkeypatch.setattr("kubeprobe.metrics.record_outcomes_set_aside", counted.append)

    def fail_at_commit(session: Session) -> None:
        if not session.in_nested_transaction():
            raise OperationalError("COMMIT", {}, Exception("connection lost"))

    event.listen(Session, "before_commit", fail_at_commit)
    try:
        with pytest.raises(OperationalError):
            respond(world.store, catalogs, world.at(3))
    finally:
        event.remove(Session, "before_commit", fail_at_commit)
    assert counted == []
    respond(world.store, catalogs, world.at(3))
    assert counted == [2]


def test_an_outcome_whose_case_was_removed_stops_nothing(world: World, catalogs: CatalogCache) -> None:
    world.outcome(F, 1)
    world.outcome(F, 1, case="removed")
    world.outcome(F, 1, cluster="removed")
    respond(world.store, catalogs, world.at(1))
    assert [(row.cluster, row.case) for row in world.all(Alert)] == [("prod-1", "pod-lifecycle")]
    assert world.all(ResponseError) == []


def test_a_target_that_this_version_cannot_read_stops_no_other(world: World, catalogs: CatalogCache) -> None:
    world.route("team", LOG, {"name": "old", "carrierPigeon": {"loft": "north"}})
    world.route("older", LOG, nobody=["knows"])
    world.outcome(F, 1)
    assert respond(world.store, catalogs, world.at(1)).deliver == [("team", "log")]
    world.remove(AlertRoute, "older")


@pytest.mark.parametrize("made", ["pipe", "large", "latin1", "folder"])
def test_a_secret_that_is_not_a_small_text_file_is_refused(tmp_path: Path, made: str) -> None:
    path = tmp_path / "secret"
    match made:
        case "pipe":
            os.mkfifo(path)
        case "large":
            path.write_bytes(b"x" * 1_000_000)
        case "latin1":
            path.write_bytes(b"caf\xe9")
        case _:
            path.mkdir()
    with pytest.raises(TemporaryTargetError, match="cannot be read"):
        read_secret(SecretSource(file=str(path)))


def test_a_secret_in_the_environment_that_is_not_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_SECRET", "caf\udce9")
    with pytest.raises(TemporaryTargetError, match="not UTF-8"):
        read_secret(SecretSource(env="ALERT_SECRET"))
