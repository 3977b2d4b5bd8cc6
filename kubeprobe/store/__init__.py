"""The store: the source of truth about what should run, what ran and with which result.

Next stage: `fleet` and `catalog` fill it, `trigger` opens runs in it. PostgreSQL in production, SQLite by
default; every statement runs on both. Tables: one file per aggregate.
"""

from kubeprobe.store.alert import (
    Alert,
    Notification,
    ResponseError,
    Standing,
    TargetHealth,
    has_failed,
    is_being_sent,
    is_undelivered,
)
from kubeprobe.store.catalog import (
    AlertRoute,
    Binding,
    CatalogVersion,
    ProbeCase,
    ProbeTemplate,
    RenderConfig,
)
from kubeprobe.store.change import Change
from kubeprobe.store.clock import ProcessClock, StoreClock
from kubeprobe.store.cluster import Cluster, Collector, has_open_breaker, is_watched
from kubeprobe.store.engine import (
    DatabaseError,
    Store,
    delete_batch,
    insert_ignoring_conflicts,
    is_rejection,
    on_commit,
    open_store,
    update_each,
    upsert,
    upsert_where,
)
from kubeprobe.store.housekeeping import Housekeeping
from kubeprobe.store.installation import Installation
from kubeprobe.store.leftover import Leftover
from kubeprobe.store.location import PodLocation
from kubeprobe.store.node import Node
from kubeprobe.store.run import (
    Outcome,
    Run,
    RunLog,
    awaits_pod,
    is_open,
    is_unprocessed,
    outcome_node_key,
    subject_of_outcome,
    subject_of_run,
)
from kubeprobe.store.schedule import Schedule
from kubeprobe.store.source import Source

__all__ = [
    "Alert",
    "AlertRoute",
    "Binding",
    "CatalogVersion",
    "Change",
    "Cluster",
    "Collector",
    "DatabaseError",
    "Housekeeping",
    "Installation",
    "Leftover",
    "Node",
    "Notification",
    "Outcome",
    "PodLocation",
    "ProbeCase",
    "ProbeTemplate",
    "ProcessClock",
    "RenderConfig",
    "ResponseError",
    "Run",
    "RunLog",
    "Schedule",
    "Source",
    "Standing",
    "Store",
    "StoreClock",
    "TargetHealth",
    "awaits_pod",
    "delete_batch",
    "has_failed",
    "has_open_breaker",
    "insert_ignoring_conflicts",
    "is_being_sent",
    "is_open",
    "is_rejection",
    "is_undelivered",
    "is_unprocessed",
    "is_watched",
    "on_commit",
    "open_store",
    "outcome_node_key",
    "subject_of_outcome",
    "subject_of_run",
    "update_each",
    "upsert",
    "upsert_where",
]
