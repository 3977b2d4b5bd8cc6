"""Leases: one collector per cluster, fair shares, and takeover from dead collectors."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from kubeprobe.execution.collect import leases
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
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

    def renew(self, *names: str) -> None:
        """One renewal each, in this order."""
        for name in names:
            found = leases.renew(self._world.store, name, self._settings, self._clock())
            self.held[name] = [cluster.name for cluster in found]

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
    assert (cluster.collector, cluster.leased_until) == ("a", now + settings.lease)


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
    held = at_once(4, lambda i: leases.renew(world.store, f"c{i}", settings, now))
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
    leases.release(world.store, "a")
    collectors.renew("b")
    assert len(collectors.held["b"]) == 10


def test_a_renewal_does_not_deadlock_with_a_concurrent_release(world: ExecutionWorld, collectors: Collectors) -> None:
    ends = [lambda: collectors.renew("a"), lambda: leases.release(world.store, "a")]
    for _ in range(40):
        collectors.renew("a")
        at_once(2, lambda number: ends[number]())
    leases.release(world.store, "a")
    collectors.renew("b")
    assert len(collectors.held["b"]) == 10, "nothing is held by who has ended"


def test_a_cluster_that_moves_to_another_pool_is_released(
    world: ExecutionWorld, collectors: Collectors, settings: Settings, now: datetime
) -> None:
    collectors.renew("a")
    world.change(Cluster, Cluster.name == "prod-1", pool="far")
    collectors.renew("a")
    assert "prod-1" not in collectors.held["a"]
    far = settings.model_copy(update={"pool": "far"})
    later = now + settings.lease + SECOND
    assert [cluster.name for cluster in leases.renew(world.store, "z", far, later)] == ["prod-1"]


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
