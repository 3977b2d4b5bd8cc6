"""The load and the next times of a set of bindings: runs per hour by cluster, timetables, warnings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from kubeprobe.catalog.model import BindingSpec, Periodic, ProbeCaseSpec, RenderConfigSpec, format_duration
from kubeprobe.catalog.schedules import ScheduleKey, ScheduleValues, expected_schedules, schedule_values
from kubeprobe.catalog.times import due_times
from kubeprobe.jsonmodel import JsonModel

_HOUR_S = 3600.0
_SAMPLE = 400
_HORIZON = timedelta(days=366)
_MAX_NAMED = 4
SHOWN_TIMES = 5


@dataclass(frozen=True)
class ClusterFacts:
    """The properties of a cluster that the forecast uses."""

    name: str
    labels: Mapping[str, str]
    pool: str
    max_in_flight: int
    nodes: tuple[tuple[Mapping[str, str], bool], ...] | None = None
    """Labels of each node, and whether it is cordoned; None: the nodes are not known yet."""

    def runs_of(self, binding: BindingSpec) -> int:
        """How many runs one slot of a case opens here: one, or one per node; while nodes are unknown, the sample."""
        if binding.nodes is None:
            return 1
        if self.nodes is None:
            return binding.nodes.size or 1
        matching = sum(binding.nodes.matches(labels, cordoned=cordoned) for labels, cordoned in self.nodes)
        return matching if binding.nodes.size is None else min(matching, binding.nodes.size)


@dataclass(frozen=True)
class ForecastInput:
    """The part of a catalog that the forecast uses, and the clusters."""

    bindings: Mapping[str, BindingSpec]
    cases: Mapping[str, ProbeCaseSpec]
    render_configs: Mapping[str, RenderConfigSpec]
    clusters: Sequence[ClusterFacts]
    bound_elsewhere: frozenset[str] = frozenset()
    """Cases of bindings that are unreadable in this version of KubeProbe."""


@dataclass(frozen=True)
class Timetable(JsonModel):
    """The next times of a binding's schedule, before each cluster's own offset."""

    binding: str
    schedule: str
    """As text: `every 5m`, `30 2 * * * Europe/Berlin`."""
    times: tuple[datetime, ...]
    spread_s: float
    """Each case on each cluster is due up to this many seconds later, by a hash of their names."""
    schedules: int
    """Number of cases x clusters."""
    paused: bool = False


def runs_per_hour(catalog: ForecastInput, now: datetime) -> dict[str, float]:
    """Periodic runs per hour of each cluster, on average, without paused bindings."""
    rates = dict.fromkeys((cluster.name for cluster in catalog.clusters), 0.0)
    for key, rate in _rates(catalog, now):
        rates[key.cluster] += rate
    return {name: round(rate, 2) for name, rate in rates.items()}


def timetables(catalog: ForecastInput, now: datetime) -> list[Timetable]:
    """The next times of every binding with a periodic trigger."""
    return [
        _timetable(name, binding, binding.on.periodic, catalog, now)
        for name, binding in sorted(catalog.bindings.items())
        if binding.on.periodic is not None
    ]


def warnings(catalog: ForecastInput, now: datetime) -> list[str]:
    """What is valid but probably not intended."""
    return [
        *_unmatched(catalog),
        *_without_nodes(catalog),
        *_unbound(catalog),
        *_ambiguous(catalog),
        *_overloaded(catalog, now),
    ]


def _timetable(name: str, binding: BindingSpec, periodic: Periodic, catalog: ForecastInput, now: datetime) -> Timetable:
    if periodic.every is not None:
        schedule = f"every {format_duration(periodic.every)}"
        window = periodic.every if periodic.offset is None else None
    else:
        schedule, window = f"{periodic.cron} {periodic.time_zone}", periodic.spread
    base = schedule_values(periodic, ScheduleKey(name, "", ""), "", "")
    if window is not None:
        base = base._replace(offset_s=0.0)
    matching = sum(binding.clusters.matches(cluster.name, cluster.labels) for cluster in catalog.clusters)
    return Timetable(
        binding=name,
        schedule=schedule,
        times=tuple(islice(due_times(base, now), SHOWN_TIMES)),
        spread_s=window.total_seconds() if window else 0.0,
        schedules=matching * len(binding.cases),
        paused=binding.paused,
    )


def _unmatched(catalog: ForecastInput) -> Iterator[str]:
    for name, binding in sorted(catalog.bindings.items()):
        if not any(binding.clusters.matches(cluster.name, cluster.labels) for cluster in catalog.clusters):
            yield f"Binding {name!r} matches no cluster and will not run"


def _without_nodes(catalog: ForecastInput) -> Iterator[str]:
    for name, binding in sorted(catalog.bindings.items()):
        if binding.nodes is None:
            continue
        matching = [c for c in catalog.clusters if binding.clusters.matches(c.name, c.labels)]
        empty = [c.name for c in matching if c.nodes is not None and not c.runs_of(binding)]
        if empty:
            more = f" and {len(empty) - _MAX_NAMED} more" if len(empty) > _MAX_NAMED else ""
            yield f"Binding {name!r} matches no node of {', '.join(empty[:_MAX_NAMED])}{more} and will not run there"
        if unknown := [c.name for c in matching if c.nodes is None]:
            assumed = binding.nodes.size or 1
            yield (
                f"Binding {name!r}: the nodes of {len(unknown)} cluster{'s' if len(unknown) > 1 else ''} are not known "
                f"yet; the load there is estimated with {assumed} node{'s' if assumed > 1 else ''}"
            )


def _unbound(catalog: ForecastInput) -> Iterator[str]:
    bound = {case for binding in catalog.bindings.values() for case in binding.cases}
    for case in sorted(catalog.cases.keys() - bound - catalog.bound_elsewhere):
        yield f"no Binding runs ProbeCase {case!r}; it runs only on request"


def _ambiguous(catalog: ForecastInput) -> Iterator[str]:
    by_case: dict[str, dict[str, None]] = {}
    for name, config in sorted(catalog.render_configs.items()):
        by_case.setdefault(config.for_, {})[name] = None
    for binding, spec in sorted(catalog.bindings.items()):
        for case in spec.cases:
            found = by_case.get(case, {})
            if len(found) > 1 and spec.render_config not in found and case not in found:
                more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
                yield (
                    f"Binding {binding!r} uses none of the RenderConfigs {', '.join(islice(found, _MAX_NAMED))}{more} "
                    f"for {case!r}; set renderConfig, or name the default one {case!r}"
                )


def _overloaded(catalog: ForecastInput, now: datetime) -> Iterator[str]:
    """Compares the average number of concurrent pods, if every run takes its whole time-out (Little's law)."""
    busy = dict.fromkeys((cluster.name for cluster in catalog.clusters), 0.0)
    for key, rate in _rates(catalog, now):
        if key.case in catalog.cases:
            busy[key.cluster] += rate / _HOUR_S * catalog.cases[key.case].timeouts.run.total_seconds()
    for cluster in catalog.clusters:
        if busy[cluster.name] > cluster.max_in_flight:
            yield (
                f"Cluster {cluster.name!r} may have {busy[cluster.name]:.0f} probe pods at a time if runs take "
                f"their whole time-out; its limit is {cluster.max_in_flight}, so runs would queue up"
            )


def _rates(catalog: ForecastInput, now: datetime) -> Iterator[tuple[ScheduleKey, float]]:
    """Runs per hour of each schedule that is not paused."""
    active = {name: binding for name, binding in catalog.bindings.items() if not binding.paused}
    clusters = {cluster.name: cluster for cluster in catalog.clusters}
    matched = [(cluster.name, cluster.labels, cluster.pool) for cluster in catalog.clusters]
    for key, values in expected_schedules(active, matched):
        rate = _rate(values._replace(offset_s=0.0, pool="", concurrency="", nodes=None), now)
        yield key, rate * clusters[key.cluster].runs_of(active[key.binding])


@lru_cache(maxsize=4096)
def _rate(values: ScheduleValues, now: datetime) -> float:
    """Runs per hour of one schedule: exact for an interval, averaged over the next times for cron."""
    if values.every_s:
        return _HOUR_S / values.every_s
    count, last = 0, now
    for due in islice(due_times(values, now), _SAMPLE):
        if due > now + _HORIZON:
            last = now + _HORIZON
            break
        count, last = count + 1, due
    return count * _HOUR_S / max((last - now).total_seconds(), 1.0)
