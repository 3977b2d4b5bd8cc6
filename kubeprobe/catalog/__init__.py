"""The catalog: what is probed, where, and when.

`model` defines the kinds, `parse` reads YAML, `plan` shows what it would change, `apply` writes it to the store,
`schedules` derives schedule rows from it, `snapshot` is the copy that a process works with, `render` makes a run's pod,
`setup` prepares a cluster (import its names from there: most processes never load its HTTP client). Next stage:
`trigger` opens runs when `times` says that they are due.
"""

from kubeprobe.catalog.apply import ApplyResult, apply
from kubeprobe.catalog.changes import Action, FieldChange, ItemChange
from kubeprobe.catalog.comparison import known_names
from kubeprobe.catalog.connections import Connector, prepare_connections
from kubeprobe.catalog.ownership import BY_HAND, Author
from kubeprobe.catalog.parameters import check_parameters
from kubeprobe.catalog.parse import Declaration, parse
from kubeprobe.catalog.pause import pause, resume
from kubeprobe.catalog.plan import Plan, make_plan
from kubeprobe.catalog.problems import CatalogError, CatalogProblem
from kubeprobe.catalog.render import RunIdentity, pod_name, render_pod
from kubeprobe.catalog.schedules import ScheduleChanges, prepare_schedules, sync_schedules
from kubeprobe.catalog.schema import json_schema
from kubeprobe.catalog.snapshot import (
    Catalog,
    CatalogCache,
    CatalogNotFoundError,
    CatalogUnreadableError,
    load_catalog,
)

__all__ = [
    "BY_HAND",
    "Action",
    "ApplyResult",
    "Author",
    "Catalog",
    "CatalogCache",
    "CatalogError",
    "CatalogNotFoundError",
    "CatalogProblem",
    "CatalogUnreadableError",
    "Connector",
    "Declaration",
    "FieldChange",
    "ItemChange",
    "Plan",
    "RunIdentity",
    "ScheduleChanges",
    "apply",
    "check_parameters",
    "json_schema",
    "known_names",
    "load_catalog",
    "make_plan",
    "parse",
    "pause",
    "pod_name",
    "prepare_connections",
    "prepare_schedules",
    "render_pod",
    "resume",
    "sync_schedules",
]
