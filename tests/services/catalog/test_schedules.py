"""Schedule rows equal bindings x cases x matching clusters; pausing and resuming them."""

from datetime import timedelta

import pytest
from sqlalchemy import event, insert
from sqlmodel import select

from kubeprobe.catalog import CatalogError, load_catalog, pause, prepare_schedules, resume, schedules, sync_schedules
from kubeprobe.catalog.times import next_due
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.fleet import clusters
from kubeprobe.store import Cluster, Node, Schedule
from tests.services.catalog.conftest import NOW, sync_all
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE

LATER = NOW + timedelta(hours=1)
SECOND = CLUSTER.replace("prod-1", "prod-2")


def rows(store):
    with store.reading() as session:
        return {(row.binding, row.case, row.cluster): row for row in session.exec(select(Schedule))}


def sync(store, now=NOW):
    with store.writing() as session:
        return sync_all(session, now)


def test_a_row_is_due_at_its_first_slot_after_the_apply(folder, store):
    folder.apply()
    (row,) = rows(store).values()
    assert (row.every_s, row.cron, row.pool, row.concurrency) == (300, None, "default", "forbid")
    assert 0 <= row.offset_s < 300
    assert NOW < row.next_due <= NOW + timedelta(minutes=5)
    assert row.next_due == next_due(row, NOW)


def test_a_cron_row_has_time_zone_and_spread(folder, store):
    periodic = "{cron: 30 2 * * *, timeZone: Europe/Berlin, spread: 10m}"
    folder.write(TEMPLATE, CASE, BINDING.replace("{every: 5m}", periodic), CLUSTER).apply()
    (row,) = rows(store).values()
    assert (row.every_s, row.cron, row.timezone) == (None, "30 2 * * *", "Europe/Berlin")
    assert 0 <= row.offset_s < 600


def test_a_fixed_offset_is_the_same_on_all_clusters(folder, store):
    folder.write(TEMPLATE, CASE, BINDING.replace("{every: 5m}", "{every: 5m, offset: 7s}"), CLUSTER, SECOND).apply()
    assert {row.offset_s for row in rows(store).values()} == {7.0}


def test_a_binding_with_only_a_change_trigger_has_no_rows(folder, store):
    folder.write(TEMPLATE, CASE, BINDING.replace("periodic: {every: 5m}", "change: {component: dns}"), CLUSTER).apply()
    assert rows(store) == {}


def test_a_second_sync_changes_nothing(folder, store):
    folder.apply()
    found = sync(store, LATER)
    assert (found.added, found.changed, found.removed) == (0, 0, 0)


def test_relabelling_a_cluster_adds_and_removes_its_rows(folder, store):
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND).apply()
    kept = rows(store)["core", "pod-lifecycle", "prod-1"]
    with store.writing() as session:
        clusters.set_labels(session, "prod-2", {"region": "us"})
        assert sync_all(session, LATER).removed == 1
    with store.writing() as session:
        clusters.set_labels(session, "prod-2", {"region": "eu"})
        assert sync_all(session, LATER).added == 1
    found = rows(store)
    assert found["core", "pod-lifecycle", "prod-1"] == kept
    assert found["core", "pod-lifecycle", "prod-2"].next_due > LATER


def test_a_cordoned_cluster_keeps_its_rows(folder, store):
    folder.apply()
    with store.writing() as session:
        clusters.cordon(session, "prod-1", "repair", NOW)
        sync_all(session, NOW)
    assert len(rows(store)) == 1


def test_a_new_interval_recomputes_due_times_from_now(folder, store):
    folder.apply()
    folder.write(TEMPLATE, CASE, BINDING.replace("5m", "2h"), CLUSTER).apply(now=LATER)
    (row,) = rows(store).values()
    assert (row.every_s, row.next_due) == (7200, next_due(row, LATER))


def test_a_new_pool_or_concurrency_keeps_a_slot_that_is_due(folder, store):
    folder.apply()
    (before,) = rows(store).values()
    changed = BINDING + "  concurrency: replace\n"
    folder.write(TEMPLATE, CASE, changed, CLUSTER.replace("labels:", "pool: edge, labels:")).apply(now=LATER)
    (row,) = rows(store).values()
    assert (row.pool, row.concurrency, row.next_due) == ("edge", "replace", before.next_due)


def test_pausing_and_resuming_a_binding(folder, store):
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND).apply()
    with store.writing() as session:
        assert pause(session, "core", now=NOW) == 2
        assert load_catalog(session).binding("core").paused
        assert load_catalog(session).version == 2
    assert {row.paused_at for row in rows(store).values()} == {NOW}
    sync(store)
    folder.apply()
    assert {row.paused_at for row in rows(store).values()} == {NOW}
    with store.writing() as session:
        assert resume(session, "core", now=LATER) == 2
        assert not load_catalog(session).binding("core").paused
    for row in rows(store).values():
        assert row.paused_at is None
        assert row.next_due == next_due(row, LATER)


def test_an_apply_keeps_a_single_paused_cluster_paused(folder, store):
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND).apply()
    with store.writing() as session:
        assert pause(session, "core", "prod-1", now=NOW) == 1
    folder.apply()
    found = {key[2]: row.paused_at for key, row in rows(store).items()}
    assert found == {"prod-1": NOW, "prod-2": None}
    with store.writing() as session:
        assert resume(session, "core", "prod-1", now=LATER) == 1
    assert {row.paused_at for row in rows(store).values()} == {None}


def test_a_new_cluster_of_a_paused_binding_is_paused_too(folder, store):
    folder.apply()
    with store.writing() as session:
        pause(session, "core", now=NOW)
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND).apply(now=LATER)
    assert {key[2]: row.paused_at for key, row in rows(store).items()} == {"prod-1": NOW, "prod-2": LATER}


def test_removing_paused_from_the_yaml_resumes_the_binding(folder, store):
    folder.write(TEMPLATE, CASE, BINDING + "  paused: true\n", CLUSTER).apply()
    assert {row.paused_at for row in rows(store).values()} == {NOW}
    with pytest.raises(InvalidInputError, match="paused: true"), store.writing() as session:
        resume(session, "core", now=NOW)
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER).apply(now=LATER)
    (row,) = rows(store).values()
    assert row.paused_at is None
    assert row.next_due > LATER


def test_pausing_an_unknown_name_is_an_error_with_the_nearest(folder, store):
    folder.apply()
    with store.writing() as session:
        with pytest.raises(NotFoundError, match="Did you mean 'core'"):
            pause(session, "cor", now=NOW)
        with pytest.raises(NotFoundError, match="prod-1"):
            pause(session, "core", "prod-9", now=NOW)
        pause(session, "core", now=NOW)
        with pytest.raises(InvalidInputError, match="on all clusters"):
            resume(session, "core", "prod-1", now=NOW)


def test_many_rows_are_written_in_few_statements(folder, store):
    folder.apply()
    sealed = {"connection_kind": "local", "connection": b"x", "created_at": NOW, "labels": {"region": "eu"}}
    with store.writing() as session:
        session.execute(insert(Cluster), [{"name": f"c{number}", **sealed} for number in range(6_000)])
    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        assert sync(store).added == 6_000
        added = len(statements)
        folder.write(TEMPLATE, CASE, BINDING.replace("5m", "6m"), CLUSTER).apply()
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    assert added < 30
    assert len(statements) - added < 60
    assert {row.every_s for row in rows(store).values()} == {360}


NODES = BINDING.replace("  on: ", "  nodes: {sample: 2}\n  on: ")


def watched(store):
    with store.reading() as session:
        return {row.name: row.watches_nodes for row in session.exec(select(Cluster))}


def test_the_nodes_of_a_binding_are_in_its_rows_and_its_clusters_are_watched(folder, store):
    folder.write(TEMPLATE, CASE, NODES, CLUSTER).apply()
    assert {row.nodes for row in rows(store).values()} == {'{"sample":2}'}
    assert watched(store) == {"prod-1": True}
    with store.writing() as session:
        session.add(Node(cluster="prod-1", name="n", uid="u", created_at=NOW, seen_at=NOW))
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER).apply(now=LATER)
    assert {row.nodes for row in rows(store).values()} == {None}
    assert watched(store) == {"prod-1": False}
    with store.reading() as session:
        assert session.exec(select(Node)).all() == [], "no collector updates them any more"


def test_changed_nodes_of_a_binding_keep_a_slot_that_is_due(folder, store):
    folder.write(TEMPLATE, CASE, NODES, CLUSTER).apply()
    (before,) = rows(store).values()
    folder.write(TEMPLATE, CASE, NODES.replace("sample: 2", "sample: all"), CLUSTER).apply(now=LATER)
    (after,) = rows(store).values()
    assert (after.next_due, after.nodes, after.id) == (before.next_due, "{}", before.id)


def test_a_binding_with_nodes_and_only_a_change_trigger_has_its_clusters_watched_too(folder, store):
    on_change = NODES.replace("periodic: {every: 5m}", "change: {component: kernel}")
    folder.write(TEMPLATE, CASE, on_change, CLUSTER).apply()
    assert (rows(store), watched(store)) == ({}, {"prod-1": True})


def test_more_schedules_than_an_installation_can_hold_are_refused_before_any_is_made(folder, store, monkeypatch):
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND).apply()
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    third = CLUSTER.replace("prod-1", "prod-3")
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND, third)
    for attempt in (folder.plan, folder.apply):
        with pytest.raises(CatalogError) as refused:
            attempt()
        (problem,) = refused.value.problems
        assert problem.document == "Binding/core"
        assert "make 3 schedules (cases x clusters), 3 of them this one: 1 cases on 3 clusters" in problem.message
        assert "at most 2 schedules" in problem.expected
    with pytest.raises(CatalogError, match="make 3 schedules"), store.writing() as session:
        prepare_schedules(session, {"prod-3": {"region": "eu"}})
    assert len(rows(store)) == 2
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, third).apply(prune=True)  # one leaves, one joins
    assert {cluster for _, _, cluster in rows(store)} == {"prod-1", "prod-3"}


def test_a_store_with_more_schedules_than_allowed_may_keep_and_reduce_them(folder, store, monkeypatch):
    third = CLUSTER.replace("prod-1", "prod-3")
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, SECOND, third).apply()
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
    changed = CASE.replace("blackbox", "inspection")
    folder.write(TEMPLATE, changed, BINDING, CLUSTER, SECOND, third)
    assert folder.plan().changes_anything
    assert folder.apply().changed_anything
    with pytest.raises(CatalogError, match="make 4 schedules"), store.writing() as session:
        prepare_schedules(session, {"prod-4": {"region": "eu"}})
    with store.writing() as session:
        catalog = prepare_schedules(session, {"prod-3": None})
        clusters.remove(session, "prod-3")
        sync_schedules(session, LATER, catalog)
    assert {cluster for _, _, cluster in rows(store)} == {"prod-1", "prod-2"}
