"""Use cases: what people and programs do with an installation. Command line, web, shell and tasks call them.

Each is one function with one permission (`usecase.PERMISSIONS`). One that writes is one transaction, and its
`Effects` are sent after the commit. `Installation` is what every use case takes first; views are read through
`Installation.read`. Nothing here prints or parses arguments.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kubeprobe.app.catalog import CatalogFiles, apply_catalog, pause_binding, plan_catalog, resume_binding
from kubeprobe.app.installation import Installation, migrate_store
from kubeprobe.app.keys import OldKeyInUseError, Rotation, retire_keys, rotate_key
from kubeprobe.app.permission import OPERATOR, Caller, NotPermittedError, Permission
from kubeprobe.app.runs import NotEndedError, RequestedRuns, record_change, request_runs
from kubeprobe.app.sources import (
    SourceWebhook,
    add_source,
    find_webhook,
    pause_source,
    plan_source,
    remove_source,
    request_sync,
    resume_source,
    sync_source,
)

if TYPE_CHECKING:
    from kubeprobe.app.clusters import (
        Relabelled,
        add_cluster,
        check_cluster,
        cordon_cluster,
        relabel_cluster,
        remove_cluster,
        uncordon_cluster,
    )
    from kubeprobe.app.logs import NoLogError, read_log

__all__ = [
    "OPERATOR",
    "Caller",
    "CatalogFiles",
    "Installation",
    "NoLogError",
    "NotEndedError",
    "NotPermittedError",
    "OldKeyInUseError",
    "Permission",
    "Relabelled",
    "RequestedRuns",
    "Rotation",
    "SourceWebhook",
    "add_cluster",
    "add_source",
    "apply_catalog",
    "check_cluster",
    "cordon_cluster",
    "find_webhook",
    "migrate_store",
    "pause_binding",
    "pause_source",
    "plan_catalog",
    "plan_source",
    "read_log",
    "record_change",
    "relabel_cluster",
    "remove_cluster",
    "remove_source",
    "request_runs",
    "request_sync",
    "resume_binding",
    "resume_source",
    "retire_keys",
    "rotate_key",
    "sync_source",
    "uncordon_cluster",
]

_CALL_CLUSTERS = ("kubeprobe.app.clusters", "kubeprobe.app.logs")
"""Imported with the first of their names: most commands need none, and the HTTP client takes long to import."""


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in map(import_module, _CALL_CLUSTERS):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
