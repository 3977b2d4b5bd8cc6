"""Concurrent responders give the result of one, and one that dies loses no outcome."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kubeprobe.catalog import Catalog, CatalogCache
from kubeprobe.response import respond
from kubeprobe.store import Alert, Notification, Outcome, Standing
from kubeprobe.vocabulary import Verdict
from tests.services.response.given import World

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
STORY = [P, F, F, P, U, U, U, F, P, F]
WAIT_S = 120


class Halting(CatalogCache):
    """A catalog cache that blocks its reader in the middle of a transaction."""

    def __init__(self, *, dies: bool = False) -> None:
        super().__init__()
        self.arrived, self.go_on, self.dies = threading.Event(), threading.Event(), dies

    def current(self, session: Any) -> Catalog:
        self.arrived.set()
        assert self.go_on.wait(WAIT_S), "the responder was not resumed"
        if self.dies:
            raise KeyboardInterrupt
        return super().current(session)


@pytest.fixture
def clusters(world: World) -> list[str]:
    names = [f"many-{number}" for number in range(10)]
    world.cluster(*names)
    world.route("team", {"name": "log", "log": {}})
    return names


def result(world: World) -> tuple[Any, ...]:
    alerts = [(row.cluster, row.kind, row.opened_at, row.closed_at) for row in world.all(Alert)]
    standings = [(row.cluster, row.verdict, row.fails, row.unknowns, row.since) for row in world.all(Standing)]
    notified = [(row.payload["cluster"], row.payload["kind"], row.payload["since"]) for row in world.all(Notification)]
    return sorted(alerts, key=str), sorted(standings), sorted(notified)


def expected(world: World, clusters: list[str]) -> tuple[Any, ...]:
    at = world.at
    alerts = [
        one
        for name in clusters
        for one in (
            (name, "fail", at(1), at(3.1)),
            (name, "unknown", at(4), at(7.1)),
            (name, "fail", at(7), at(8.1)),
            (name, "fail", at(9), None),
        )
    ]
    standings = [(name, "fail", 1, 0, at(9)) for name in clusters]
    notified = [
        (name, kind, at(since).isoformat().replace("+00:00", "Z"))
        for name in clusters
        for kind, since in (
            ("failed", 1),
            ("recovered", 1),
            ("unknown", 4),
            ("verdict-restored", 4),
            ("failed", 7),
            ("recovered", 7),
            ("failed", 9),
        )
    ]
    return sorted(alerts, key=str), sorted(standings), sorted(notified)


def test_four_concurrent_responders_give_the_result_of_one(world: World, clusters: list[str]) -> None:
    for minute, verdict in enumerate(STORY):
        for name in clusters:
            world.outcome(verdict, minute, cluster=name)

    def work(_: int) -> None:
        catalogs = CatalogCache()
        while any(row.responded_at is None for row in world.all(Outcome)):
            respond(world.store, catalogs, world.at(30), limit=7)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert result(world) == expected(world, clusters)


@pytest.mark.parametrize("dies", [False, True], ids=["first one ends", "first one dies"])
def test_the_second_waits_for_the_first_and_reads_its_result(
    world: World,
    clusters: list[str],
    dies: bool,  # noqa: FBT001
) -> None:
    for minute, verdict in enumerate(STORY[:6]):
        for name in clusters:
            world.outcome(verdict, minute, cluster=name)
    first, done = Halting(dies=dies), threading.Event()

    def second() -> None:
        for _ in range(20):
            respond(world.store, CatalogCache(), world.at(31), limit=25)
        done.set()

    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(respond, world.store, first, world.at(30), 30)
        assert first.arrived.wait(WAIT_S), "the first responder did not start"
        for minute, verdict in list(enumerate(STORY))[6:]:
            _unless_locked(world, lambda minute=minute, verdict=verdict: _store(world, clusters, verdict, minute))
        behind = pool.submit(second)
        assert not done.wait(0.3), "the second did not wait for the first"
        first.go_on.set()
        assert (type(ahead.exception(WAIT_S)) is KeyboardInterrupt) is dies
        behind.result(WAIT_S)
    for minute, verdict in list(enumerate(STORY))[6:]:
        if world.store.engine.dialect.name == "sqlite":
            _store(world, clusters, verdict, minute)
    for _ in range(10):
        respond(world.store, CatalogCache(), world.at(32), limit=25)
    assert result(world) == expected(world, clusters)


def _store(world: World, clusters: list[str], verdict: Verdict, minute: int) -> None:
    for name in clusters:
        world.outcome(verdict, minute, cluster=name)


def _unless_locked(world: World, write: Callable[[], None]) -> None:
    """SQLite has one writer at a time: no outcome can be stored during a responder's transaction."""
    if world.store.engine.dialect.name == "postgresql":
        write()
