"""`/metrics` of the web: its own, and what only the store and the broker know, read for all processes by this one.

A reading is kept for some seconds, so that scrapes, however many, cost the store no more. A database that hangs delays
one scrape; the others get the last reading, and without one soon learn that there is none.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubeprobe.app import Installation
from kubeprobe.metrics import REGISTRY, TRIGGERS, one_of
from kubeprobe.queue import MANY_WAITING, launch_queue, queues_of
from kubeprobe.store import DatabaseError
from kubeprobe.views.gauges import HELD, StoreGauges, read_gauges
from kubeprobe.vocabulary import AlertKind, RunState, Severity

log = structlog.get_logger(__name__)

KEPT = timedelta(seconds=10)
"""How long a reading is served."""
OLDEST = timedelta(minutes=1)
"""What is older is not served: the store does not answer, and its numbers are unknown."""
FIRST_WITHIN_S = 5.0
"""How long a scrape waits for the first reading, which another one takes."""
STATES = (RunState.PENDING, HELD, RunState.LAUNCHING, RunState.RUNNING)
OTHER_LAUNCH_QUEUES = "launch (others)"
"""The queues of pools beyond KUBEPROBE_METRICS_POOLS. No pool's queue is called so: a name has no spaces."""


def registry_of(installation: Installation) -> CollectorRegistry:
    """All that the web serves."""
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    registry.register(InstallationMetrics(installation))
    return registry


@dataclass(frozen=True)
class _Reading:
    taken_at: datetime
    gauges: StoreGauges | None = None
    """None: the store does not answer."""
    queues: Mapping[str, int] | None = None
    """None: the broker does not answer."""
    long_queues: int | None = None
    pools_without_launchers: int | None = None


class InstallationMetrics(Collector):
    """Reads the store and the broker when it is scraped."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._reading: _Reading | None = None
        self._refreshing = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """The series, without reading anything."""
        return _families(None)

    def collect(self) -> Iterable[Metric]:
        """The newest reading; a new one where that is too old."""
        now = self._installation.clock()
        wait_s = FIRST_WITHIN_S if self._reading is None else 0
        if self._age(now) > KEPT and self._refreshing.acquire(timeout=wait_s):
            try:
                if self._age(now) > KEPT:
                    self._reading = self._read(now)
            finally:
                self._refreshing.release()
        return _families(self._reading if self._age(now) <= OLDEST else None)

    def _age(self, now: datetime) -> timedelta:
        """Of the reading; the maximum without one, and for one of a later time: the clock was set back."""
        age = now - self._reading.taken_at if self._reading else timedelta.max
        return age if age >= -KEPT else timedelta.max

    def _read(self, now: datetime) -> _Reading:
        gauges, settings = None, self._installation.settings
        try:
            gauges = self._installation.query(read_gauges, now)
        except DatabaseError as error:
            log.warning("database unavailable; its metrics are left out", error=str(error))
        # Only the database knows the pools. Without it, only the other queues are queried.
        names = _queues(gauges.clusters if gauges else (), settings.metrics_pools)
        lengths = self._installation.queue.lengths(list(names))
        if lengths is None:
            return _Reading(now, gauges)
        summed: dict[str, int] = {}
        for queue, label in names.items():
            summed[label] = summed.get(label, 0) + lengths[queue]
        long = sum(length >= MANY_WAITING for length in lengths.values())
        served = self._installation.queue.workers()
        if gauges is None or served is None:
            return _Reading(now, gauges, summed, long)
        unserved = sum(launch_queue(pool) not in served for pool in gauges.clusters)
        return _Reading(now, gauges, summed, long, unserved)


def _queues(pools: Iterable[str], most: int) -> dict[str, str]:
    """The queues, and under which label each is counted."""
    launch = [launch_queue(pool) for pool in sorted(pools)]
    named = {queue: queue for queue in (*queues_of(()), *launch[:most])}
    return named | dict.fromkeys(launch[most:], OTHER_LAUNCH_QUEUES)


def _families(reading: _Reading | None) -> Iterable[Metric]:
    found, queues = (reading.gauges, reading.queues) if reading else (None, None)
    yield _gauge("kubeprobe_database_up", "Whether the database answered the web.", found is not None)
    yield _gauge("kubeprobe_broker_up", "Whether the broker answered the web.", queues is not None)
    lengths: dict[tuple[str, ...], int] = {(queue,): length for queue, length in (queues or {}).items()}
    yield _labelled("kubeprobe_queue_messages", "Messages that wait in a Celery queue.", ("queue",), lengths)
    long, unserved = (reading.long_queues, reading.pools_without_launchers) if reading else (None, None)
    yield _gauge("kubeprobe_long_queues", f"Celery queues in which {MANY_WAITING:,} messages or more wait.", long)
    yield _gauge("kubeprobe_pools_without_launchers", "Pools with clusters whose queue no worker serves.", unserved)
    runs = _bounded(found.open_runs, STATES, TRIGGERS) if found else {}
    yield _labelled("kubeprobe_open_runs", "Runs without an outcome.", ("state", "trigger"), runs)
    alerts = _bounded(found.open_alerts, tuple(AlertKind), tuple(Severity)) if found else {}
    yield _labelled("kubeprobe_open_alerts", "Alerts that are open.", ("kind", "severity"), alerts)
    for name, meaning, value_of in _PLAIN:
        yield _gauge(f"kubeprobe_{name}", meaning, value_of(found) if found else None)


_PLAIN: tuple[tuple[str, str, Callable[[StoreGauges], float | None]], ...] = (
    ("oldest_pending_run_age_seconds", "How long a run waits for a launcher.", lambda g: g.oldest_pending_s),
    (
        "oldest_held_run_age_seconds",
        "How long a held run waits.",
        lambda g: g.oldest_held_s,
    ),
    ("oldest_due_slot_age_seconds", "How long a slot waits for beat.", lambda g: g.overdue_schedule_s),
    ("unprocessed_outcomes", "Outcomes that wait for a responder.", lambda g: g.unprocessed_outcomes),
    (
        "oldest_unprocessed_outcome_age_seconds",
        "How long an outcome waits for a responder.",
        lambda g: g.oldest_unprocessed_s,
    ),
    ("due_notifications", "Notifications that are to be sent now.", lambda g: g.due_notifications),
    (
        "oldest_due_notification_age_seconds",
        "How long a notification waits to be sent.",
        lambda g: g.oldest_notification_s,
    ),
    (
        "last_outcome_timestamp_seconds",
        "When the newest outcome was stored.",
        lambda g: g.last_outcome_at.timestamp() if g.last_outcome_at else None,
    ),
    ("clusters", "Clusters of the installation.", lambda g: sum(g.clusters.values())),
    ("unwatched_clusters", "Clusters that no collector watches.", lambda g: g.unwatched_clusters),
    ("cordoned_clusters", "Clusters that are cordoned.", lambda g: g.cordoned_clusters),
    ("open_breakers", "Clusters whose breaker is open.", lambda g: g.open_breakers),
    ("collectors", "Collectors that renew their leases.", lambda g: g.collectors),
)
"""Name without prefix, meaning, and value; None: never."""


def _gauge(name: str, meaning: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning)
    if value is not None:
        family.add_metric((), value)
    return family


def _labelled(
    name: str, meaning: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _bounded(
    counts: Mapping[tuple[str, str], int], first: Iterable[str], second: Iterable[str]
) -> dict[tuple[str, ...], int]:
    """Every combination of known values, 0 where nothing was counted; unknown values as `other`."""
    first, second = tuple(first), tuple(second)
    bounded: dict[tuple[str, ...], int] = {(str(one), str(other)): 0 for one in first for other in second}
    for (one, other), count in counts.items():
        key = (one_of(one, first), one_of(other, second))
        bounded[key] = bounded.get(key, 0) + count
    return bounded
