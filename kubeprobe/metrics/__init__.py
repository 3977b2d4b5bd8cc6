"""What a process measures of its own work, as Prometheus metrics; docs/operations.md lists and explains all of them.

Beneath all stages: each calls a function here where something happened. Values of labels come from closed lists:
`one_of` turns everything else into `other`, so that no input adds series. No run, cluster or case is ever
a label.

`listener` serves them. What only the store knows (queues, their age, open runs) is read by the web: `web.metrics`.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from kubeprobe import __version__
from kubeprobe.vocabulary import Reason, Trigger, Verdict

REGISTRY = CollectorRegistry()
"""Of this process; not the library's own, which Flower uses."""

OTHER = "other"
TRIGGERS = frozenset(Trigger)
VERDICTS = frozenset(Verdict)
REASONS = frozenset(Reason)
VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete"})
KINDS = frozenset({"pods", "pods/log", "nodes", "namespaces", "version"})
STATUSES = frozenset({"1xx", "2xx", "3xx", "4xx", "5xx", "none"})
WATCHED = frozenset({"pods", "nodes"})
SET_ASIDE_KINDS = frozenset({"clusters", "pods", "nodes", "runs", "schedules", "housekeeping"})
CAUSES = frozenset(
    {
        "AdmissionDenied",
        "AlreadyExists",
        "ClusterUnreachable",
        "Conflict",
        "Crashed",
        "CredentialsUnavailable",
        "Forbidden",
        "Gone",
        "Invalid",
        "NamespaceMissing",
        "NamespaceTerminating",
        "NotFound",
        "NotSent",
        "QuotaExceeded",
        "ServerError",
        "StoreUnavailable",
        "Throttled",
        "Unauthorized",
    }
)
"""Why a list or a watch failed: every cause of `fleet.errors` (a test compares), the store, a fault of KubeProbe."""
TARGETS = frozenset({"apprise", "webhook", "alertmanager", "log", "removed"})
RESULTS = frozenset({"sent", "retried", "failed", "dropped"})
PROCESSES = frozenset({"launcher", "collector", "responder", "beat", "web", "worker"})

_LAGS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_REQUESTS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
"""Up to the time limit of a request to a cluster."""

ProcessCollector(registry=REGISTRY)
BUILD = Info("kubeprobe_build", "The version, and which process this is.", registry=REGISTRY)
RUNS_OPENED = Counter("kubeprobe_runs_opened", "Runs opened for launching.", ("trigger",), registry=REGISTRY)
OUTCOMES = Counter(
    "kubeprobe_outcomes", "Outcomes stored by this process.", ("trigger", "verdict", "reason"), registry=REGISTRY
)
MISSED_SLOTS = Counter("kubeprobe_missed_slots", "Slots that passed while no beat could open them.", registry=REGISTRY)
OPENED_LAG = Histogram(
    "kubeprobe_run_opened_lag_seconds",
    "From a slot's due time until its run is opened.",
    ("trigger",),
    buckets=_LAGS_S,
    registry=REGISTRY,
)
CREATED_LAG = Histogram(
    "kubeprobe_run_created_lag_seconds",
    "From the opening of a run until its first pod is created.",
    buckets=_LAGS_S,
    registry=REGISTRY,
)
STORED_LAG = Histogram(
    "kubeprobe_run_stored_lag_seconds",
    "From the creation of a run's pod until its outcome is stored; includes the probe's own time.",
    buckets=_LAGS_S,
    registry=REGISTRY,
)
FINISHED_LAG = Histogram(
    "kubeprobe_run_finished_lag_seconds",
    "From the end of a probe until its outcome is stored; the offset of its cluster's clock is taken into account.",
    buckets=_LAGS_S,
    registry=REGISTRY,
)
CLUSTER_REQUESTS = Histogram(
    "kubeprobe_cluster_request_seconds",
    "Requests to clusters, from the first byte sent (a new connection included) to the headers of the answer.",
    ("verb", "kind", "status"),
    buckets=_REQUESTS_S,
    registry=REGISTRY,
)
WATCHES = Gauge("kubeprobe_watches", "Watches that are established now.", ("kind",), registry=REGISTRY)
WATCH_FAILURES = Counter(
    "kubeprobe_watch_failures", "Failed lists and watches; a list follows.", ("kind", "cause"), registry=REGISTRY
)
SET_ASIDE = Counter(
    "kubeprobe_objects_set_aside",
    "Objects of clusters, or rows, that could not be handled and stop nothing else.",
    ("kind",),
    registry=REGISTRY,
)
LEASES_HELD = Gauge("kubeprobe_leases_held", "Clusters that this collector watches.", registry=REGISTRY)
LEASES_LOST = Counter(
    "kubeprobe_leases_lost",
    "Clusters lost because this collector did not renew their leases in time.",
    registry=REGISTRY,
)
DELIVERIES = Counter(
    "kubeprobe_deliveries", "Attempts to deliver a notification.", ("target", "result"), registry=REGISTRY
)
OUTCOMES_SET_ASIDE = Counter(
    "kubeprobe_outcomes_set_aside", "Outcomes that could not be turned into standings and alerts.", registry=REGISTRY
)
LAST_TICK = Gauge(
    "kubeprobe_beat_last_tick_timestamp_seconds", "When beat last issued what was due.", registry=REGISTRY
)


def one_of(value: str, allowed: Collection[str]) -> str:
    """The value, if it is one of these; else `other`."""
    return str(value) if value in allowed else OTHER


def record_opened(runs: Iterable[tuple[str, datetime]], opened_at: datetime) -> None:
    """Runs were opened for launching: trigger and due time of each."""
    for trigger, due_at in runs:
        label = one_of(trigger, TRIGGERS)
        RUNS_OPENED.labels(label).inc()
        OPENED_LAG.labels(label).observe(_seconds(opened_at - due_at))


def record_created(opened_at: Iterable[datetime], created_at: datetime) -> None:
    """The first pods of runs were created: when each run was opened."""
    for opened in opened_at:
        CREATED_LAG.observe(_seconds(created_at - opened))


def record_outcome(trigger: str, verdict: str, reason: str, missed: int) -> None:
    """An outcome was committed; it stands for so many missed slots."""
    labels = (one_of(trigger, TRIGGERS), one_of(verdict, VERDICTS), one_of(reason, REASONS))
    OUTCOMES.labels(*labels).inc()
    MISSED_SLOTS.inc(missed)


def record_stored(stored_at: datetime, created_at: datetime | None, finished_at: datetime | None) -> None:
    """An outcome was committed; when its pod was created and its probe ended, where there was one."""
    if created_at is not None:
        STORED_LAG.observe(_seconds(stored_at - created_at))
    if finished_at is not None:
        FINISHED_LAG.observe(_seconds(stored_at - finished_at))


def record_cluster_request(verb: str, kind: str, status: int | None, seconds: float) -> None:
    """A request to a cluster was answered with a status, or with none at all."""
    status_class = "none" if status is None else f"{status // 100}xx"
    CLUSTER_REQUESTS.labels(one_of(verb, VERBS), one_of(kind, KINDS), one_of(status_class, STATUSES)).observe(seconds)


@asynccontextmanager
async def watching(kind: str) -> AsyncIterator[None]:
    """A watch of `pods` or `nodes` is open while the block runs."""
    gauge = WATCHES.labels(one_of(kind, WATCHED))
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


def record_watch_failure(kind: str, cause: str) -> None:
    """A list or a watch of `pods` or `nodes` failed; `cause` as in CAUSES."""
    WATCH_FAILURES.labels(one_of(kind, WATCHED), one_of(cause, CAUSES)).inc()


def record_set_aside(kind: str) -> None:
    """A pod or a node, or a row of the store, was set aside."""
    SET_ASIDE.labels(one_of(kind, SET_ASIDE_KINDS)).inc()


def record_delivery(target: str, result: str) -> None:
    """A notification was sent to a target of this kind, or not; `result` as in RESULTS."""
    DELIVERIES.labels(one_of(target, TARGETS), one_of(result, RESULTS)).inc()


def record_outcomes_set_aside(outcomes: int) -> None:
    """So many outcomes could not be folded."""
    OUTCOMES_SET_ASIDE.inc(outcomes)


def record_process(process: str) -> None:
    """Which process this is."""
    BUILD.info({"version": __version__, "process": one_of(process, PROCESSES)})


def _seconds(lag: timedelta) -> float:
    """Not negative: two machines' clocks may differ."""
    return max(0.0, lag.total_seconds())
