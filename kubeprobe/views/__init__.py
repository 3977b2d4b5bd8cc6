"""Views: the questions that people put to the store, answered as frozen values.

Plain functions over a session, few statements each, the same on both databases. `cli` and `web` show what they give;
`as_json` turns it into what machines read. Nothing here writes.
"""

from kubeprobe.views.alerts import AlertView, list_alerts
from kubeprobe.views.clusters import ClusterView, list_clusters
from kubeprobe.views.leftovers import LeftoverView
from kubeprobe.views.plain import as_json
from kubeprobe.views.run import LogTail, RunDetails, Stage, get_run, kept_log, resolve_run_id
from kubeprobe.views.runs import RunFilter, RunView, list_runs, outcomes_since, runs_by_id
from kubeprobe.views.standing import Cell, Fleet, NodeCell, Shown, fleet, node_cells
from kubeprobe.views.waiting import wait_for_outcomes

__all__ = [
    "AlertView",
    "Cell",
    "ClusterView",
    "Fleet",
    "LeftoverView",
    "LogTail",
    "NodeCell",
    "RunDetails",
    "RunFilter",
    "RunView",
    "Shown",
    "Stage",
    "as_json",
    "fleet",
    "get_run",
    "kept_log",
    "list_alerts",
    "list_clusters",
    "list_runs",
    "node_cells",
    "outcomes_since",
    "resolve_run_id",
    "runs_by_id",
    "wait_for_outcomes",
]
