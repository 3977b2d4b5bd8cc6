"""The catalog: what should be probed, where, and when.

`model` says what YAML may say, `parse` reads it, `plan` shows what it would change, `apply` writes it,
`schedules` follow from it, `snapshot` is the copy that processes work with, `render` makes a run's pod.
Next stage: `trigger` opens runs when `times` says that they are due.
"""

from kubeprobe.catalog.apply import Applied, apply, known_names
from kubeprobe.catalog.changes import Action, FieldChange, ItemChange
from kubeprobe.catalog.connecting import Connector
from kubeprobe.catalog.ownership import BY_HAND, Author
from kubeprobe.catalog.parameters import check_parameters
from kubeprobe.catalog.parse import Declaration, parse
from kubeprobe.catalog.pausing import pause, resume
from kubeprobe.catalog.plan import Plan, make_plan
from kubeprobe.catalog.problems import CatalogError, CatalogProblem
from kubeprobe.catalog.render import RunIdentity, pod_name, render_pod
from kubeprobe.catalog.schedules import ScheduleChanges, sync_schedules
from kubeprobe.catalog.schema import json_schema
from kubeprobe.catalog.setup import Place, cases_bound_to, setup_objects
from kubeprobe.catalog.snapshot import Catalog, CatalogCache, CatalogNotFoundError, CatalogUnreadableError, load_catalog

__all__ = [
    "BY_HAND",
    "Action",
    "Applied",
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
    "Place",
    "Plan",
    "RunIdentity",
    "ScheduleChanges",
    "apply",
    "cases_bound_to",
    "check_parameters",
    "json_schema",
    "known_names",
    "load_catalog",
    "make_plan",
    "parse",
    "pause",
    "pod_name",
    "render_pod",
    "resume",
    "setup_objects",
    "sync_schedules",
]
