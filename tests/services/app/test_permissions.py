"""Every use case requires one permission and changes nothing without it."""

import importlib
import inspect
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubeprobe import app
from kubeprobe.app import Caller, CatalogFiles, Installation, NotPermittedError, Permission
from kubeprobe.app.usecase import PERMISSIONS
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet.clusters import ClusterRegistration
from kubeprobe.fleet.credentials import in_cluster
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from kubeprobe.trigger import RunRequest
from kubeprobe.views import RunFilter, list_runs

NO_USE_CASES = {
    "clusters.call_cluster",
    "clusters.target_of",
    "installation.migrate_store",
    "probes.trial_as_run",
    "probes.try_locally",
    "probes.unknown_parameters",
    "setup.plan_setup",
    "usecase.transaction",
    "usecase.use_case",
}
"""Helpers, views, and functions without an installation."""


@pytest.fixture
def installation(store: Store, tmp_path: Path) -> Installation:
    settings = Settings(data_dir=tmp_path)
    return Installation(settings, store, Queue.connect("redis://127.0.0.1:1/0"))


def test_every_public_function_has_a_permission() -> None:
    found = set()
    for module in pkgutil.iter_modules(app.__path__):
        members = inspect.getmembers(importlib.import_module(f"kubeprobe.app.{module.name}"), inspect.isfunction)
        found |= {
            f"{module.name}.{name}"
            for name, function in members
            if function.__module__ == f"kubeprobe.app.{module.name}" and not name.startswith("_")
        }
    assert found - NO_USE_CASES == set(PERMISSIONS)


def test_a_caller_without_the_permission_is_refused(installation: Installation) -> None:
    reader = replace(installation, caller=Caller("a dashboard", frozenset({Permission.READ})))
    assert reader.read(list_runs, RunFilter()).items == ()
    with pytest.raises(NotPermittedError, match="a dashboard may not request runs: this needs the permission 'run'"):
        app.request_runs(reader, RunRequest("dns", ("prod-1",)))
    with pytest.raises(NotPermittedError, match="'clusters'"):
        app.remove_cluster(reader, "prod-1")
    blind = replace(installation, caller=Caller("nobody", frozenset()))
    with pytest.raises(NotPermittedError, match="'read'"):
        blind.read(list_runs, RunFilter())


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "catalog.apply_catalog": (CatalogFiles((Path("absent"),)),),
    "catalog.pause_binding": ("absent",),
    "catalog.plan_catalog": (CatalogFiles((Path("absent"),)),),
    "catalog.resume_binding": ("absent",),
    "clusters.add_cluster": (ClusterRegistration("No Name"), in_cluster()),
    "clusters.check_cluster": ("absent",),
    "clusters.cordon_cluster": ("absent",),
    "clusters.relabel_cluster": ("absent", {}),
    "clusters.remove_cluster": ("absent",),
    "clusters.uncordon_cluster": ("absent",),
    "keys.retire_keys": (),
    "keys.rotate_key": (),
    "logs.read_log": ("absent", print),
    "probes.register_probe": (Path("absent"),),
    "probes.try_on_cluster": ("absent", None, None, None, None),
    "runs.record_change": ("etcd",),
    "runs.request_runs": (RunRequest("absent", ("absent",)),),
    "setup.apply_setup": (None,),
    "setup.compare_setup": (None,),
    "sources.add_source": (None,),
    "sources.find_webhook": ("absent",),
    "sources.pause_source": ("absent",),
    "sources.plan_source": ("absent",),
    "sources.remove_source": ("absent",),
    "sources.request_sync": ("absent",),
    "sources.resume_source": ("absent",),
    "sources.sync_source": ("absent",),
}


@pytest.mark.parametrize("name", sorted(PERMISSIONS))
def test_a_use_case_needs_its_own_permission_and_no_other(installation: Installation, name: str) -> None:
    """With arguments that get no further than the store, if at all."""
    module, _, function = name.partition(".")
    use_case = getattr(importlib.import_module(f"kubeprobe.app.{module}"), function)
    keywords = {"clusters": ["absent"]} if name == "runs.record_change" else {}
    for permission in Permission:
        caller = replace(installation, caller=Caller("someone", frozenset({permission})))
        if permission is PERMISSIONS[name]:
            try:
                use_case(caller, *ARGUMENTS[name], **keywords)
            except NotPermittedError:
                raise
            except (KubeProbeError, AttributeError, OSError):
                pass  # refused for its arguments
        else:
            with pytest.raises(NotPermittedError):
                use_case(caller, *ARGUMENTS[name], **keywords)


def test_permissions_do_not_include_one_another(installation: Installation) -> None:
    operator = replace(installation, caller=Caller("on call", frozenset({Permission.OPERATE})))
    with pytest.raises(NotPermittedError, match="'catalog'"):
        app.remove_source(operator, "team")
