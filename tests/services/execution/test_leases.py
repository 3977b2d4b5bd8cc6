"""Leases: one collector per cluster, fair shares, and takeover from dead collectors."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlmodel import col

from kubeprobe.catalog.version import lock_clusters
from kubeprobe.execution.collect.collector import _write_troubles
from kubeprobe.execution.collect.leases import Leases
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Collector, Store
from tests.harness.wait import until
from tests.services.app.test_locks import waits
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.trigger.given import at_once, statements

SECOND = timedelta(seconds=1)


@pytest.fixture
def world(world: ExecutionWorld) -> ExecutionWorld:
    """Ten clusters."""
    world.cluster(*(f"prod-{i}" for i in range(2, 11)))
    return world


class Collectors:
    """Collectors that renew their leases in turn, and the clusters that each got."""

    def __init__(self, world: ExecutionWorld, settings: Settings, clock: Clock) -> None:
        self._world = world
        self._settings = settings
        self._clock = clock
        self.held: dict[str, list[str]] = {}
        self._leases: dict[str, Leases] = {}

    def renew(self, *names: str) -> None:
        """One renewal each, in this order."""
        for name in names:
            found = self.of(name).renew(self._clock())
            self.held[name] = [cluster.name for cluster in found]

    def of(self, name: str) -> Leases:
        """The leases of a collector."""
        return self._leases.setdefault(name, Leases(self._world.store, name, self._settings))

    def rounds(self, names: Sequence[str], count: int = 6) -> list[int]:
        """Renew as often as within some seconds; returns how many clusters each has in the end."""
        for _ in range(count):
            self.renew(*names)
            self._clock.move(self._settings.lease.total_seconds() / 4)
        return sorted(len(self.held[name]) for name in names)

    def holders(self) -> Counter[str]:
        """How many collectors have leased each cluster."""
        return Counter(cluster for held in self.held.values() for cluster in held)


@pytest.fixture
def collectors(world: ExecutionWorld, settings: Settings, clock: Clock) -> Collectors:
    return Collectors(world, settings, clock)


def test_a_single_collector_leases_all_clusters_of_its_pool(
    world: ExecutionWorld, collectors: Collectors, settings: Settings, now: datetime
) -> None:
    world.cluster("far-1")
    world.change(Cluster, Cluster.name == "far-1", pool="far")
    collectors.renew("a")
    assert len(collectors.held["a"]) == 10
    assert "far-1" not in collectors.held["a"]
    cluster = world.find_cluster("prod-1")
    with world.store.reading() as session:
        leased_until = session.get_one(Collector, "a").leased_until
    assert (cluster.collector, leased_until) == ("a", now + settings.lease)


@pytest.mark.parametrize(("names", "shares"), [("a", [10]), ("ab", [5, 5]), ("abc", [2, 4, 4])])
def test_collectors_share_the_clusters_fairly(collectors: Collectors, names: str, shares: list[int]) -> None:
    assert collectors.rounds(names) == shares
    assert set(collectors.holders().values()) == {1}
    assert len(collectors.holders()) == 10


def test_a_new_collector_gets_its_share_within_one_renewal_of_the_others(collectors: Collectors) -> None:
    collectors.rounds("a")
    collectors.renew("b", "a", "b")
    assert sorted(len(held) for held in collectors.held.values()) == [5, 5]
    assert set(collectors.holders().values()) == {1}


def test_collectors_that_start_concurrently_never_lease_the_same_cluster(
    world: ExecutionWorld, settings: Settings, now: datetime
) -> None:
    held = at_once(4, lambda i: Leases(world.store, f"c{i}", settings).renew(now))
    assert max(Counter(cluster.name for part in held for cluster in part).values()) == 1


def test_the_clusters_of_a_dead_collector_are_leased_by_others_after_expiry(
    collectors: Collectors, settings: Settings, clock: Clock
) -> None:
    collectors.rounds("ab")
    collectors.renew("a", "b")
    clock.move(settings.lease.total_seconds() - 1)
    collectors.renew("a")
    assert len(collectors.held["a"]) == 5, "the other may still be alive"
    clock.move(2)
    collectors.renew("a")
    assert len(collectors.held["a"]) == 10


def test_a_collector_that_returns_does_not_get_clusters_that_others_leased(
    collectors: Collectors, settings: Settings, clock: Clock
) -> None:
    collectors.rounds("ab")
    clock.move(2 * settings.lease.total_seconds())
    collectors.renew("a", "b")
    assert len(collectors.held["a"]) == 10
    assert collectors.held["b"] == []
    collectors.renew("a", "b")
    assert set(collectors.holders().values()) == {1}
    assert sorted(len(held) for held in collectors.held.values()) == [5, 5]


def test_a_collector_that_shuts_down_releases_its_clusters(world: ExecutionWorld, collectors: Collectors) -> None:
    collectors.rounds("ab")
    collectors.of("a").release()
    collectors.renew("b")
    assert len(collectors.held["b"]) == 10


def test_a_renewal_does_not_deadlock_with_a_concurrent_release(world: ExecutionWorld, collectors: Collectors) -> None:
    ends = [lambda: collectors.renew("a"), collectors.of("a").release]
    for _ in range(40):
        collectors.renew("a")
        at_once(2, lambda number: ends[number]())
    collectors.of("a").release()
    collectors.renew("b")
    assert len(collectors.held["b"]) == 10, "nothing is held by who has ended"


def _record_troubles(collectors: Collectors, store: Store) -> None:
    assert collectors.held["a"]
    assert _write_troubles(store, dict.fromkeys(collectors.held["a"], "trouble")) == sorted(
        set(collectors.held["a"]) - {"prod-5"}
    )


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "act",
    [
        lambda collectors, _: collectors.of("a").release(),
        lambda collectors, _: collectors.renew("a"),
        _record_troubles,
    ],
    ids=["shut down", "release what is above the share", "record troubles"],
)
def test_a_collector_waits_for_no_row_while_it_holds_others(
    world: ExecutionWorld, collectors: Collectors, act: Callable[[Collectors, Store], None]
) -> None:
    """Else an apply that has locked a cluster, and then locks others, would deadlock with it."""
    collectors.renew("a")
    collectors.renew("b", "c")  # a has too many
    with world.store.writing() as applying, ThreadPoolExecutor(1) as pool:
        lock_clusters(applying, ["prod-5"])
        acting = pool.submit(act, collectors, world.store)
        until("it to end, or to wait for a lock", lambda: acting.done() or waits(world.store))
        assert acting.done(), "it waits for a lock"
        acting.result()
        lock_clusters(applying, [f"prod-{number}" for number in range(1, 11)])
    assert collectors.rounds("abc") == [2, 4, 4]


def test_a_cluster_that_moves_to_another_pool_is_released(
    world: ExecutionWorld, collectors: Collectors, settings: Settings, now: datetime
) -> None:
    collectors.renew("a")
    world.change(Cluster, Cluster.name == "prod-1", pool="far")
    collectors.renew("a")
    assert "prod-1" not in collectors.held["a"]
    far = settings.model_copy(update={"pool": "far"})
    collectors.renew("a")
    assert [cluster.name for cluster in Leases(world.store, "z", far).renew(now)] == ["prod-1"]


def test_a_new_cluster_is_leased_at_the_next_renewal(world: ExecutionWorld, collectors: Collectors) -> None:
    collectors.rounds("ab")
    world.cluster("new-1")
    collectors.renew("a", "b")
    assert collectors.holders()["new-1"] == 1


def test_a_renewal_costs_the_same_for_any_number_of_clusters(
    world: ExecutionWorld, collectors: Collectors, settings: Settings, now: datetime
) -> None:
    collectors.renew("a")
    with statements(world.store) as few:
        collectors.renew("a")
    world.cluster(*(f"more-{i}" for i in range(1000)))
    collectors.renew("a")
    with statements(world.store) as many:
        collectors.renew("a")
    assert len(many) == len(few) <= 4


def test_recording_troubles_costs_the_same_for_any_number_of_clusters(world: ExecutionWorld, store: Store) -> None:
    names = [f"more-{i}" for i in range(100)]
    world.cluster(*names)
    with statements(store) as seen:
        assert _write_troubles(store, {name: f"trouble of {name}\0" for name in names}) == sorted(names)
    assert len(seen) == 2
    with store.reading() as session:
        cluster = session.get_one(Cluster, "more-7")
    assert cluster.watch_trouble == "trouble of more-7\N{REPLACEMENT CHARACTER}"
    assert cluster.updated_at is not None


def test_a_renewal_reads_only_what_has_changed(
    world: ExecutionWorld, collectors: Collectors, clock: Clock, settings: Settings
) -> None:
    """10,000 clusters with connections of 8 kB were 80 MB every 2.5 s."""
    world.cluster(*(f"more-{i}" for i in range(100)))
    world.change(Cluster, connection=b"x" * 8000, updated_at=world.noon)
    collectors.renew("a")
    before = {cluster.name: cluster for cluster in collectors.of("a").renew(clock())}
    world.change(Cluster, updated_at=world.noon)
    world.change_cluster("prod-1", labels={"tier": "gold"})
    world.change_cluster("more-7", connection=b"new")  # also after a rotation of the key, which keeps its version
    with statements(world.store) as seen:
        found = {cluster.name: cluster for cluster in collectors.of("a").renew(clock())}
    assert sorted(name for name in found if found[name] is not before[name]) == ["more-7", "prod-1"]
    assert (found["prod-1"].labels, found["prod-1"].connection) == ({"tier": "gold"}, b"x" * 8000)
    assert (found["more-7"].connection, found["more-8"].connection) == (b"new", b"x" * 8000)
    [parameters] = [given for text, given in seen if "cluster.connection" in text and "substr(" not in text]
    assert [*(parameters.values() if isinstance(parameters, dict) else parameters)] == ["more-7"]
    assert len(found) == 110


def test_a_collector_notices_what_is_removed_and_added_again(
    world: ExecutionWorld, collectors: Collectors, now: datetime
) -> None:
    collectors.rounds("a")
    world.change(Cluster, updated_at=world.noon)
    with world.store.writing() as session:
        session.execute(delete(Cluster).where(col(Cluster.name).in_(["prod-1", "prod-2"])))
    world.cluster("prod-2")
    world.change_cluster("prod-2", connection=b"another", created_at=now + SECOND)
    found = {cluster.name: cluster for cluster in collectors.of("a").renew(now)}
    assert len(found) == 9
    assert found["prod-2"].connection == b"another"


def test_a_cluster_whose_row_cannot_be_read_leaves_the_others_watched(
    world: ExecutionWorld, collectors: Collectors
) -> None:
    if world.store.engine.dialect.name != "sqlite":
        world.change_cluster("prod-1", labels=[])  # PostgreSQL accepts JSON only
    else:
        with world.store.writing() as session:
            session.connection().exec_driver_sql("UPDATE cluster SET labels = '{' WHERE name = 'prod-1'")
    for _ in range(2):
        collectors.renew("a")
        assert set(collectors.held["a"]) >= {f"prod-{i}" for i in range(2, 11)}
