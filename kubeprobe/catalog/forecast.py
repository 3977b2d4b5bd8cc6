"""What a set of bindings will cost and when they run: runs per hour by cluster, next times, warnings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from kubeprobe.catalog.model import BindingSpec, Periodic, ProbeCaseSpec, RenderConfigSpec, format_duration
from kubeprobe.catalog.schedules import Key, Terms, terms_for, terms_of
from kubeprobe.catalog.times import due_times

_HOUR_S = 3600.0
_SAMPLE = 400
_HORIZON = timedelta(days=366)
_NAMED = 4
SHOWN_TIMES = 5


@dataclass(frozen=True)
class ClusterFacts:
    """What the forecast needs to know of a cluster."""

    name: str
    labels: Mapping[str, str]
    pool: str
    max_in_flight: int
    nodes: tuple[tuple[Mapping[str, str], bool], ...] | None = None
    """Labels of each node, and whether it is cordoned; None: the nodes are not known (yet)."""

    def runs_of(self, binding: BindingSpec) -> int:
        """How many runs a slot of a case is here: one, or one for each node; at least one where none is known."""
        if binding.nodes is None:
            return 1
        if self.nodes is None:
            return binding.nodes.size or 1
        matching = sum(binding.nodes.matches(labels, cordoned=cordoned) for labels, cordoned in self.nodes)
        return matching if binding.nodes.size is None else min(matching, binding.nodes.size)


@dataclass(frozen=True)
class World:
    """What a forecast is made of: a catalog and the clusters that it meets."""

    bindings: Mapping[str, BindingSpec]
    cases: Mapping[str, ProbeCaseSpec]
    render_configs: Mapping[str, RenderConfigSpec]
    clusters: Sequence[ClusterFacts]


@dataclass(frozen=True)
class Timetable:
    """The next times of a binding's schedule, before each cluster's own offset."""

    binding: str
    schedule: str
    """As people say it: `every 5m`, `30 2 * * * Europe/Berlin`."""
    times: tuple[datetime, ...]
    spread_s: float
    """Each case on each cluster is due at most so much later, by a hash of their names."""
    schedules: int
    """How many cases x clusters it is for."""
    paused: bool = False


def runs_per_hour(world: World, now: datetime) -> dict[str, float]:
    """Periodic runs per hour of each cluster, on average; paused bindings left out."""
    rates = dict.fromkeys((cluster.name for cluster in world.clusters), 0.0)
    for key, rate in _rates(world, now):
        rates[key.cluster] += rate
    return {name: round(rate, 2) for name, rate in rates.items()}


def timetables(world: World, now: datetime) -> list[Timetable]:
    """The next times of every binding with a periodic trigger."""
    return [
        _timetable(name, binding, binding.on.periodic, world, now)
        for name, binding in sorted(world.bindings.items())
        if binding.on.periodic is not None
    ]


def warnings(world: World, now: datetime) -> list[str]:
    """What is valid but probably not meant."""
    return [*_unmatched(world), *_without_nodes(world), *_unbound(world), *_ambiguous(world), *_overloaded(world, now)]


def _timetable(name: str, binding: BindingSpec, periodic: Periodic, world: World, now: datetime) -> Timetable:
    if periodic.every is not None:
        schedule = f"every {format_duration(periodic.every)}"
        window = periodic.every if periodic.offset is None else None
    else:
        schedule, window = f"{periodic.cron} {periodic.time_zone}", periodic.spread
    base = terms_of(periodic, Key(name, "", ""), "", "")
    if window is not None:
        base = base._replace(offset_s=0.0)
    matching = sum(binding.clusters.matches(cluster.name, cluster.labels) for cluster in world.clusters)
    return Timetable(
        binding=name,
        schedule=schedule,
        times=tuple(islice(due_times(base, now), SHOWN_TIMES)),
        spread_s=window.total_seconds() if window else 0.0,
        schedules=matching * len(binding.cases),
        paused=binding.paused,
    )


def _unmatched(world: World) -> Iterator[str]:
    for name, binding in sorted(world.bindings.items()):
        if not any(binding.clusters.matches(cluster.name, cluster.labels) for cluster in world.clusters):
            yield f"Binding {name!r} matches no cluster: nothing of it will run"


def _without_nodes(world: World) -> Iterator[str]:
    for name, binding in sorted(world.bindings.items()):
        if binding.nodes is None:
            continue
        places = [c for c in world.clusters if binding.clusters.matches(c.name, c.labels)]
        empty = [c.name for c in places if c.nodes is not None and not c.runs_of(binding)]
        if empty:
            more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
            yield f"Binding {name!r} matches no node of {', '.join(empty[:_NAMED])}{more}: nothing of it will run there"
        if unknown := [c.name for c in places if c.nodes is None]:
            counted = binding.nodes.size or 1
            yield (
                f"Binding {name!r}: the nodes of {len(unknown)} cluster{'s' if len(unknown) > 1 else ''} are not known "
                f"yet; its load is reckoned with {counted} there"
            )


def _unbound(world: World) -> Iterator[str]:
    bound = {case for binding in world.bindings.values() for case in binding.cases}
    for case in sorted(world.cases.keys() - bound):
        yield f"no Binding runs ProbeCase {case!r}: it runs only by hand"


def _ambiguous(world: World) -> Iterator[str]:
    by_case: dict[str, list[str]] = {}
    for name, config in sorted(world.render_configs.items()):
        by_case.setdefault(config.for_, []).append(name)
    for binding, spec in sorted(world.bindings.items()):
        for case in spec.cases:
            found = by_case.get(case, [])
            if len(found) > 1 and spec.render_config not in found and case not in found:
                yield (
                    f"Binding {binding!r} uses none of the RenderConfigs {', '.join(found)} for {case!r}: "
                    f"set renderConfig, or call the usual one {case!r}"
                )


def _overloaded(world: World, now: datetime) -> Iterator[str]:
    """The average number of pods at a time, were every run to take its whole time-out (Little's law)."""
    busy = dict.fromkeys((cluster.name for cluster in world.clusters), 0.0)
    for key, rate in _rates(world, now):
        if key.case in world.cases:
            busy[key.cluster] += rate / _HOUR_S * world.cases[key.case].timeouts.run.total_seconds()
    for cluster in world.clusters:
        if busy[cluster.name] > cluster.max_in_flight:
            yield (
                f"Cluster {cluster.name!r} may have {busy[cluster.name]:.0f} probe pods at a time if runs take "
                f"their whole time-out, but its limit is {cluster.max_in_flight}: runs would queue up"
            )


def _rates(world: World, now: datetime) -> Iterator[tuple[Key, float]]:
    """Runs per hour of each schedule that is not paused."""
    active = {name: binding for name, binding in world.bindings.items() if not binding.paused}
    places = [(cluster.name, cluster.labels, cluster.pool) for cluster in world.clusters]
    clusters = {cluster.name: cluster for cluster in world.clusters}
    for key, terms in terms_for(active, places):
        rate = _rate(terms._replace(offset_s=0.0, pool="", concurrency="", nodes=None), now)
        yield key, rate * clusters[key.cluster].runs_of(active[key.binding])


@lru_cache(maxsize=4096)
def _rate(terms: Terms, now: datetime) -> float:
    """Runs per hour of one schedule: exact for an interval, for cron an average of its next times."""
    if terms.every_s:
        return _HOUR_S / terms.every_s
    count, last = 0, now
    for due in islice(due_times(terms, now), _SAMPLE):
        if due > now + _HORIZON:
            last = now + _HORIZON
            break
        count, last = count + 1, due
    return count * _HOUR_S / max((last - now).total_seconds(), 1.0)
