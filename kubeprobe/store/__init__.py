"""The store: the one truth about what should run, what ran and what came of it.

Next stage: `fleet` and `catalog` fill it, `trigger` opens runs in it. PostgreSQL in production, SQLite by
default; every statement here runs on both. Tables: one file per aggregate.
"""

from kubeprobe.store.catalog import (
    AlertRoute,
    Binding,
    CatalogVersion,
    ProbeCase,
    ProbeTemplate,
    RenderConfig,
)
from kubeprobe.store.change import Change
from kubeprobe.store.cluster import Cluster, Collector
from kubeprobe.store.engine import Store, insert_all, insert_ignoring_conflicts, open_store, update_each, upsert
from kubeprobe.store.incident import Incident, IncidentKind, Notification, NotificationState, Standing
from kubeprobe.store.installation import Installation
from kubeprobe.store.leftover import Leftover
from kubeprobe.store.node import SOME_NODE, Node, place_name
from kubeprobe.store.reason import Reason
from kubeprobe.store.run import Outcome, Run, RunLog, RunState, Trigger, Verdict, awaits_pod, is_open
from kubeprobe.store.schedule import Concurrency, Schedule
from kubeprobe.store.source import Source

__all__ = [
    "SOME_NODE",
    "AlertRoute",
    "Binding",
    "CatalogVersion",
    "Change",
    "Cluster",
    "Collector",
    "Concurrency",
    "Incident",
    "IncidentKind",
    "Installation",
    "Leftover",
    "Node",
    "Notification",
    "NotificationState",
    "Outcome",
    "ProbeCase",
    "ProbeTemplate",
    "Reason",
    "RenderConfig",
    "Run",
    "RunLog",
    "RunState",
    "Schedule",
    "Source",
    "Standing",
    "Store",
    "Trigger",
    "Verdict",
    "awaits_pod",
    "insert_all",
    "insert_ignoring_conflicts",
    "is_open",
    "open_store",
    "place_name",
    "update_each",
    "upsert",
]
