"""Every use case needs one permission, and changes nothing without it."""

import importlib
import inspect
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest

from kubeprobe import app
from kubeprobe.app import Caller, Installation, NotPermittedError, Permission
from kubeprobe.app.usecase import PERMISSIONS
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
"""Helpers, views, and what needs no installation."""


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


def test_permissions_do_not_include_one_another(installation: Installation) -> None:
    operator = replace(installation, caller=Caller("on call", frozenset({Permission.OPERATE})))
    with pytest.raises(NotPermittedError, match="'catalog'"):
        app.remove_source(operator, "team")
