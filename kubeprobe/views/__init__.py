"""Views: the what people and programs query, as frozen values.

Plain functions over a session, few statements each, the same on both databases. Lists that grow come as a `Page` with
a cursor. Results are `JsonModel`s, which have one JSON form and a schema of it. Nothing here writes.
"""

from kubeprobe.views.alerts import AlertFilter, AlertView, count_alerts, list_alerts
from kubeprobe.views.clusters import ClusterView, list_clusters
from kubeprobe.views.leftovers import LeftoverView
from kubeprobe.views.run import LogTail, RunDetails, Stage, get_run, kept_log, resolve_run_id
from kubeprobe.views.runs import RunFilter, RunView, list_runs, outcomes_since, run_ids_of_change, runs_by_id
from kubeprobe.views.sources import SourceView, list_sources, show_source
from kubeprobe.views.standing import Cell, FleetStatus, NodeCell, Shown, fleet_status, list_node_cells
from kubeprobe.views.waiting import wait_for_outcomes

__all__ = [
    "AlertFilter",
    "AlertView",
    "Cell",
    "ClusterView",
    "FleetStatus",
    "LeftoverView",
    "LogTail",
    "NodeCell",
    "RunDetails",
    "RunFilter",
    "RunView",
    "Shown",
    "SourceView",
    "Stage",
    "count_alerts",
    "fleet_status",
    "get_run",
    "kept_log",
    "list_alerts",
    "list_clusters",
    "list_node_cells",
    "list_runs",
    "list_sources",
    "outcomes_since",
    "resolve_run_id",
    "run_ids_of_change",
    "runs_by_id",
    "show_source",
    "wait_for_outcomes",
]
