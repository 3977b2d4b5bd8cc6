"""Pagination: following the cursor returns every row once, in order, for any page size."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import event

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.health.facts import fleet_health, leftover_health, run_health
from kubeprobe.jsonmodel import Page
from kubeprobe.store import Alert, Store
from kubeprobe.views import (
    AlertFilter,
    RunFilter,
    fleet_status,
    list_alerts,
    list_clusters,
    list_node_cells,
    list_runs,
)
from kubeprobe.vocabulary import Verdict
from tests.services.views.given import World


def pages(query: Callable[[str | None], Page[Any]]) -> Iterator[list[Any]]:
    cursor = None
    while True:
        page = query(cursor)
        yield list(page.items)
        if (cursor := page.next) is None:
            return


def add_alerts(world: World, count: int, cluster: str, minutes: int = 1) -> None:
    with world.store.writing() as session:
        for number in range(count):
            session.add(
                Alert(
                    id=f"{cluster}-{number:05}",
                    cluster=cluster,
                    case=f"case-{number}",
                    kind="fail",
                    reason="ReportedFailure",
                    first_run_id="",
                    last_run_id="",
                    opened_at=world.now + timedelta(minutes=minutes * number),
                )
            )


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_runs_are_paged_newest_first(world: World, size: int) -> None:
    run_ids = [world.opened() for _ in range(5)]
    with world.store.reading() as session:
        found = list(pages(lambda after: list_runs(session, RunFilter(), size, after)))
    assert [run.id for page in found for run in page] == sorted(run_ids, reverse=True)
    assert len(found) == -(-5 // size)


@pytest.mark.parametrize("minutes", [0, 1], ids=["opened at one instant", "one after the other"])
def test_alerts_are_paged_newest_first(world: World, minutes: int) -> None:
    add_alerts(world, 5, "a", minutes)
    with world.store.reading() as session:
        found = [alert.id for page in pages(lambda after: list_alerts(session, None, 2, after)) for alert in page]
    assert found == [f"a-{number:05}" for number in (4, 3, 2, 1, 0)]


def test_clusters_are_paged_by_name(world: World) -> None:
    for name in ("c", "a", "b"):
        world.cluster(name)
    with world.store.reading() as session:
        found = list(pages(lambda after: list_clusters(session, world.now, None, 2, after or "")))
    assert [[cluster.name for cluster in page] for page in found] == [["a", "b"], ["c"]]


def test_clusters_are_paged_in_the_order_of_the_database(world: World) -> None:
    """PostgreSQL's may be that of a language, where prod1 comes before prod-2."""
    names = {"prod1", "prod-2", "prod-10", "PROD", "z"}
    for name in names:
        world.cluster(name)
    with world.store.reading() as session:
        found = list(pages(lambda after: list_clusters(session, world.now, None, 1, after or "")))
        assert [cluster.name for page in found for cluster in page] == [
            cluster.name for cluster in list_clusters(session, world.now).items
        ]
    assert len(found) == len(names)


def test_a_cursor_of_alerts_in_another_time_zone_is_the_same_instant(world: World) -> None:
    add_alerts(world, 3, "a")
    with world.store.reading() as session:
        cursor = list_alerts(session, None, 2).next
        assert cursor is not None
        moment, _, alert_id = cursor.partition("/")
        moved = datetime.fromisoformat(moment).astimezone(timezone(timedelta(hours=1)))
        for other in (cursor, f"{moved.isoformat()}/{alert_id}"):
            assert [alert.id for alert in list_alerts(session, None, 2, other).items] == ["a-00000"]
        with pytest.raises(InvalidInputError, match="is not a cursor of alerts"):
            list_alerts(session, None, 2, f"{moved.replace(tzinfo=None).isoformat()}/{alert_id}")


def test_nodes_of_removed_clusters_are_left_out(world: World) -> None:
    world.cluster("a")
    for cluster in ("a", "removed"):
        world.standing("dns", cluster, Verdict.PASS, node="n1")
    with world.store.reading() as session:
        assert [cell.cluster for cell in list_node_cells(session).items] == ["a"]


def test_nodes_are_paged_by_case_cluster_and_node(world: World) -> None:
    for node in ("n3", "n1", "n2"):
        world.standing("dns", "a", Verdict.PASS, node=node)
    world.cluster("a")
    with world.store.reading() as session:
        found = list(pages(lambda after: list_node_cells(session, None, None, 2, after)))
    assert [[cell.node for cell in page] for page in found] == [["n1", "n2"], ["n3"]]


@pytest.mark.parametrize("query", [list_alerts, list_node_cells], ids=lambda query: query.__name__)
def test_an_invalid_cursor_is_refused(world: World, query: Callable[..., Page[Any]]) -> None:
    with world.store.reading() as session, pytest.raises(InvalidInputError, match="is not a cursor of"):
        query(session, after="nonsense")


def test_a_cursor_of_another_list_is_refused_for_runs(world: World) -> None:
    with world.store.reading() as session, pytest.raises(InvalidInputError, match="is not a cursor of runs"):
        list_runs(session, RunFilter(), after="2026/x")


def test_alerts_of_selected_clusters_are_found_among_many_others(world: World) -> None:
    """The selector is part of the query; a limit applied before it once hid them."""
    world.cluster("quiet", region="eu")
    world.cluster("noisy", region="us")
    add_alerts(world, 1, "quiet")
    add_alerts(world, 1100, "noisy")
    with world.store.reading() as session:
        found = fleet_status(session, world.now, parse_selector("region=eu"))
        assert [alert.cluster for alert in found.alerts] == ["quiet"]
        everywhere = fleet_status(session, world.now)
        assert (len(everywhere.alerts), everywhere.open_alerts) == (1000, 1101)
        assert len(list_alerts(session, AlertFilter(case="case-7")).items) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_serves_open_work_from_partial_indexes(world: World) -> None:
    """SQLite uses a partial index only if the query repeats its condition; without it, queries slow down with time."""
    queries = {
        "fleet": lambda session: fleet_status(session, world.now),
        "clusters": lambda session: list_clusters(session, world.now),
        "fleet health": lambda session: fleet_health(session, world.now),
        "run health": lambda session: run_health(session, world.now),
        "leftover health": lambda session: leftover_health(session, world.now),
    }
    with world.store.reading() as session:
        for name, query in queries.items():
            statements: list[tuple[str, Any]] = []

            def record(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any, to: Any = statements) -> None:
                to.append((statement, parameters))

            event.listen(world.store.engine, "before_cursor_execute", record)
            query(session)
            event.remove(world.store.engine, "before_cursor_execute", record)
            for statement, parameters in statements:
                plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                scans = [row[-1] for row in plan if row[-1] in {f"SCAN {table}" for table in HISTORY}]
                assert not scans, f"{name}: {scans[0]} for {statement}"


@pytest.mark.parametrize("page", [{}, {"after": "01jdcqb2g0" + "z" * 16}])
def test_runs_by_verdict_are_read_by_its_index_in_order(world: World, store: Store, page: dict[str, str]) -> None:
    """Failures are rare: without it, a page of them reads all runs."""
    world.ran([Verdict.FAIL if number % 100 == 0 else Verdict.PASS for number in range(3000)])
    with store.writing() as session:
        session.connection().exec_driver_sql("ANALYZE")
    seen: list[tuple[str, Any]] = []

    def record(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", record)
    with store.reading() as session:
        list_runs(session, RunFilter(verdict="fail", since=world.now - timedelta(days=900)), **page)
    event.remove(store.engine, "before_cursor_execute", record)
    explain = {"postgresql": "EXPLAIN ", "sqlite": "EXPLAIN QUERY PLAN "}[store.engine.dialect.name]
    [(statement, parameters)] = [one for one in seen if one[0].startswith("SELECT")]
    with store.engine.begin() as connection:
        plan = connection.exec_driver_sql(explain + statement, parameters).all()
    explained = "\n".join(" ".join(map(str, row)) for row in plan)
    assert "ix_outcome_verdict" in explained, explained
    for slow in ("Sort", "SCAN", "TEMP B-TREE", "Seq Scan"):
        assert slow not in explained, explained


HISTORY = ("run", "outcome", "alert", "notification", "leftover")
"""Tables with history."""
