"""What a set of bindings will cost and when they run: runs per hour by cluster, next times, warnings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from kubeprobe.catalog.model import BindingSpec, ProbeCaseSpec, RenderConfigSpec, format_duration
from kubeprobe.catalog.schedules import Key, Terms, terms_for, terms_of
from kubeprobe.catalog.times import due_times

_HOUR_S = 3600.0
_SAMPLE = 400
_HORIZON = timedelta(days=366)
SHOWN_TIMES = 5


@dataclass(frozen=True)
class ClusterFacts:
    """What the forecast needs to know of a cluster."""

    name: str
    labels: Mapping[str, str]
    pool: str
    max_in_flight: int


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


def runs_per_hour(
    bindings: Mapping[str, BindingSpec], clusters: Sequence[ClusterFacts], now: datetime
) -> dict[str, float]:
    """Periodic runs per hour of each cluster, on average; paused bindings left out."""
    rates: Counter[str] = Counter()
    for key, terms in _running(bindings, clusters):
        rates[key.cluster] += _rate(terms._replace(offset_s=0, pool="", concurrency=""), now)  # type: ignore[assignment]
    return {cluster.name: round(rates[cluster.name], 2) for cluster in clusters}


def timetables(bindings: Mapping[str, BindingSpec], clusters: Sequence[ClusterFacts], now: datetime) -> list[Timetable]:
    """The next times of every binding with a periodic trigger."""
    found = []
    for name, binding in sorted(bindings.items()):
        periodic = binding.on.periodic
        if periodic is None:
            continue
        terms = terms_of(periodic, Key(name, "", ""), "", "")
        fixed_s = periodic.offset.total_seconds() if periodic.offset else 0.0
        window = periodic.spread if periodic.cron else None if periodic.offset is not None else periodic.every
        matching = sum(binding.clusters.matches(cluster.name, cluster.labels) for cluster in clusters)
        found.append(
            Timetable(
                binding=name,
                schedule=f"{periodic.cron} {periodic.time_zone}"
                if periodic.every is None
                else f"every {format_duration(periodic.every)}",
                times=tuple(islice(due_times(terms._replace(offset_s=fixed_s), now), SHOWN_TIMES)),
                spread_s=window.total_seconds() if window else 0.0,
                schedules=matching * len(binding.cases),
                paused=binding.paused,
            )
        )
    return found


def warnings(
    bindings: Mapping[str, BindingSpec],
    cases: Mapping[str, ProbeCaseSpec],
    render_configs: Mapping[str, RenderConfigSpec],
    clusters: Sequence[ClusterFacts],
    now: datetime,
) -> list[str]:
    """What is valid but probably not meant."""
    return [
        *_unmatched(bindings, clusters),
        *_unbound(bindings, cases),
        *_ambiguous(bindings, render_configs),
        *_overloaded(bindings, cases, clusters, now),
    ]


def _unmatched(bindings: Mapping[str, BindingSpec], clusters: Sequence[ClusterFacts]) -> Iterator[str]:
    for name, binding in sorted(bindings.items()):
        if not any(binding.clusters.matches(cluster.name, cluster.labels) for cluster in clusters):
            yield f"Binding {name!r} matches no cluster: nothing of it will run"


def _unbound(bindings: Mapping[str, BindingSpec], cases: Mapping[str, ProbeCaseSpec]) -> Iterator[str]:
    bound = {case for binding in bindings.values() for case in binding.cases}
    for case in sorted(cases.keys() - bound):
        yield f"no Binding runs ProbeCase {case!r}: it runs only by hand"


def _ambiguous(bindings: Mapping[str, BindingSpec], render_configs: Mapping[str, RenderConfigSpec]) -> Iterator[str]:
    by_case: dict[str, list[str]] = {}
    for name, config in sorted(render_configs.items()):
        by_case.setdefault(config.for_, []).append(name)
    for binding, spec in sorted(bindings.items()):
        for case in spec.cases:
            found = by_case.get(case, [])
            if len(found) > 1 and spec.render_config not in found and case not in found:
                yield (
                    f"Binding {binding!r} uses none of the RenderConfigs {', '.join(found)} for {case!r}: "
                    f"set renderConfig, or call the usual one {case!r}"
                )


def _overloaded(
    bindings: Mapping[str, BindingSpec],
    cases: Mapping[str, ProbeCaseSpec],
    clusters: Sequence[ClusterFacts],
    now: datetime,
) -> Iterator[str]:
    """Average number of pods at a time, were every run to take its whole time-out (Little's law)."""
    busy: Counter[str] = Counter()
    for key, terms in _running(bindings, clusters):
        if key.case in cases:
            rate = _rate(terms._replace(offset_s=0, pool="", concurrency=""), now)
            busy[key.cluster] += rate * cases[key.case].timeouts.run.total_seconds() / _HOUR_S  # type: ignore[assignment]
    for cluster in clusters:
        if busy[cluster.name] > cluster.max_in_flight:
            yield (
                f"Cluster {cluster.name!r} may have {busy[cluster.name]:.0f} probe pods at a time if runs take "
                f"their whole time-out, but its limit is {cluster.max_in_flight}: runs would queue up"
            )


def _running(bindings: Mapping[str, BindingSpec], clusters: Sequence[ClusterFacts]) -> Iterator[tuple[Key, Terms]]:
    active = {name: binding for name, binding in bindings.items() if not binding.paused}
    return terms_for(active, [(cluster.name, dict(cluster.labels), cluster.pool) for cluster in clusters])


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
