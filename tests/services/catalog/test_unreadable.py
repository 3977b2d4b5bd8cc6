"""Entries that another version of KubeProbe stored and that are invalid in this one: they stop no other."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import col, select
from structlog.testing import capture_logs

from kubeprobe.catalog import CatalogCache, CatalogNotFoundError, CatalogUnreadableError, load_catalog
from kubeprobe.catalog.changes import TABLES
from kubeprobe.catalog.problems import CatalogError
from kubeprobe.catalog.version import increment_version
from kubeprobe.health.facts import fleet_health, unreadable_entries
from kubeprobe.health.judgements import judge_catalog
from kubeprobe.store import Binding, Cluster, ProbeCase, Schedule
from tests.services.catalog.conftest import NOW, Folder, sync_all
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, document

DNS = CASE.replace("name: pod-lifecycle", "name: dns")
BOTH = BINDING.replace("[pod-lifecycle]", "[pod-lifecycle, dns]")
CONFIG = document("RenderConfig", "{for: pod-lifecycle, values: {A: b}}", "config")
ROUTE = document("AlertRoute", "{targets: [{name: log, log: {}}]}", "team")
KINDS = {
    "ProbeTemplate": "probes",
    "ProbeCase": "pod-lifecycle",
    "RenderConfig": "config",
    "Binding": "core",
    "AlertRoute": "team",
}


def spoil(folder: Folder, kind: str, **fields: Any) -> None:
    """Store a spec as a newer version would."""
    with folder.store.writing() as session:
        row = session.get_one(TABLES[kind], KINDS[kind])
        row.spec = {**row.spec, "newer": 1, **fields}
        session.add(row)
        session.flush()
        increment_version(session)


def schedules(folder: Folder) -> list[tuple[Any, ...]]:
    columns = (col(Schedule.id), col(Schedule.case), col(Schedule.cluster), col(Schedule.next_due))
    with folder.store.reading() as session:
        return sorted(tuple(row) for row in session.execute(select(*columns)))


@pytest.fixture
def folder(folder: Folder) -> Folder:
    """Every kind, applied."""
    folder.write(TEMPLATE, CASE, DNS, CONFIG, BOTH, CLUSTER, ROUTE).apply()
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_an_unreadable_entry_is_named_and_an_apply_fixes_it_while_others_are_unreadable(
    folder: Folder, kind: str
) -> None:
    for each in KINDS:
        spoil(folder, each)
    folder.write(*(d for d in (TEMPLATE, CASE, DNS, CONFIG, BOTH, CLUSTER, ROUTE) if f"kind: {kind}\n" in d))
    plan = folder.plan()
    assert [(item.kind, item.name) for item in plan.items if item.action == "changed"] == [(kind, KINDS[kind])]
    assert sum("invalid in this version" in warning for warning in plan.warnings) == len(KINDS) - 1
    folder.apply()
    with folder.store.reading() as session:
        remaining = unreadable_entries(session)
        assert set(remaining) == {f"{other} {name}" for other, name in KINDS.items() if other != kind}
    for finding in judge_catalog(remaining):
        assert not finding.ok
        assert "spec.newer" in finding.found
        assert "kubeprobe apply" in finding.remedy


def test_all_that_is_unreadable_is_fixed_by_one_apply(folder: Folder) -> None:
    before = schedules(folder)
    for each in KINDS:
        spoil(folder, each)
    folder.apply(prune=True)
    with folder.store.reading() as session:
        assert [finding.ok for finding in judge_catalog(unreadable_entries(session))] == [True]
    assert schedules(folder) == before


@pytest.mark.parametrize("spec", [[], "text", 1, {}, {"cases": 5, "for": [], "targets": {}, "template": {"a": 1}}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_spec_may_have_any_shape(folder: Folder, kind: str, spec: Any) -> None:
    with folder.store.writing() as session:
        session.get_one(TABLES[kind], KINDS[kind]).spec = spec
        increment_version(session)
    with folder.store.reading() as session:
        catalog = load_catalog(session)
    assert set(catalog.unreadable) == {(kind, KINDS[kind])}
    assert folder.plan().count("changed") == 1
    folder.apply()
    with folder.store.reading() as session:
        assert not load_catalog(session).unreadable


def test_only_what_is_unreadable_raises(folder: Folder) -> None:
    spoil(folder, "ProbeCase")
    with folder.store.reading() as session:
        catalog = load_catalog(session)
    with pytest.raises(CatalogUnreadableError, match=r"ProbeCase 'pod-lifecycle'.*spec\.newer.*kubeprobe apply"):
        catalog.case("pod-lifecycle")
    with pytest.raises(CatalogNotFoundError):
        catalog.case("gone")
    assert catalog.case("dns").template == "probes"
    assert catalog.case_names() == {"pod-lifecycle", "dns"}


def test_it_is_logged_once_for_each_version(folder: Folder) -> None:
    spoil(folder, "Binding")
    cache = CatalogCache()
    for _ in range(2):
        with capture_logs() as logs:
            for _ in range(3):
                with folder.store.reading() as session:
                    cache.current(session)
        assert [(found["event"], found["name"]) for found in logs] == [("catalog entry unreadable", "core")]
        with folder.store.writing() as session:
            increment_version(session)


@pytest.mark.parametrize("kind", ["Binding", "ProbeCase"])
def test_the_schedules_of_an_unreadable_entry_stay(folder: Folder, kind: str) -> None:
    before = schedules(folder)
    assert len(before) == 2
    spoil(folder, kind)
    folder.write(TEMPLATE).apply()
    with folder.store.writing() as session:
        sync_all(session, NOW)
    assert schedules(folder) == before
    with folder.store.reading() as session:
        assert fleet_health(session, NOW).unbound == ()


def test_the_schedules_of_an_unreadable_binding_on_a_removed_cluster_are_removed(folder: Folder) -> None:
    spoil(folder, "Binding")
    with folder.store.writing() as session:
        session.delete(session.get_one(Cluster, "prod-1"))
        sync_all(session, NOW)
    assert schedules(folder) == []


def test_collectors_watch_nodes_as_long_as_an_unreadable_binding_may_need_it(folder: Folder) -> None:
    folder.write(BOTH + "  nodes: {sample: 1}\n").apply()
    spoil(folder, "Binding")
    with folder.store.writing() as session:
        sync_all(session, NOW)
        assert session.get_one(Cluster, "prod-1").watches_nodes
    folder.write(BOTH).apply()
    with folder.store.reading() as session:
        assert not session.get_one(Cluster, "prod-1").watches_nodes


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_that_is_cut_stops_no_other_entry_and_an_apply_fixes_it(folder: Folder, kind: str) -> None:
    cut = '\'{"template": "pro\'' if folder.store.engine.dialect.name == "sqlite" else "'\"{ cut\"'"
    with folder.store.writing() as session:
        session.execute(text(f"UPDATE {TABLES[kind].__table__.name} SET spec = {cut} WHERE name = '{KINDS[kind]}'"))  # type: ignore[union-attr]
        session.execute(text(f"UPDATE cluster SET spec = {cut}"))
        increment_version(session)
    before = schedules(folder)
    with folder.store.writing() as session:
        catalog = load_catalog(session)
        assert set(catalog.unreadable) == {(kind, KINDS[kind])}
        assert f"the stored {kind} '{KINDS[kind]}' is invalid" in catalog.unreadable[kind, KINDS[kind]].message
        assert "dns" in catalog.cases
        sync_all(session, NOW)
    assert schedules(folder) == before
    assert {item.kind for item in folder.plan().items if item.action == "changed"} == {kind, "Cluster"}
    folder.apply()
    with folder.store.reading() as session:
        assert not load_catalog(session).unreadable
    assert not folder.apply().changed_anything


def test_a_run_never_gets_the_values_of_another_config_than_its_own(folder: Folder) -> None:
    spoil(folder, "RenderConfig")
    with folder.store.reading() as session:
        catalog = load_catalog(session)
    with pytest.raises(CatalogUnreadableError, match="RenderConfig 'config'"):
        catalog.render_config("pod-lifecycle", "core")
    assert catalog.render_config("dns", "core") is None
    other = document("RenderConfig", "{for: pod-lifecycle, values: {A: c}}", "other")
    folder.write(other, BOTH + "  renderConfig: other\n").apply()
    spoil(folder, "Binding")
    with folder.store.reading() as session:
        found = load_catalog(session).render_config("pod-lifecycle", "core")
    assert found is not None
    assert found.values == {"A": "c"}, "the binding is unreadable, not the config that it names"
    spoil(folder, "Binding", renderConfig=7)
    with folder.store.reading() as session, pytest.raises(CatalogUnreadableError, match="Binding 'core'"):
        load_catalog(session).render_config("pod-lifecycle", "core")


def test_a_rule_that_is_longer_than_this_version_allows_stops_no_other_case(folder: Folder) -> None:
    rule = {"id": "long", "for": {"apiVersion": "v1", "kind": "Pod"}, "expect": "true", "message": "x" * 10_001}
    spoil(folder, "ProbeCase", rules=[rule])
    with folder.store.writing() as session:
        spec = dict(session.get_one(ProbeCase, "pod-lifecycle").spec)
        del spec["newer"]
        session.get_one(ProbeCase, "pod-lifecycle").spec = spec
    with folder.store.reading() as session:
        catalog = load_catalog(session)
    assert list(catalog.cases) == ["dns"]
    [entry] = catalog.unreadable.values()
    assert "spec.rules.0" in entry.message
    assert len(entry.message) < 500


def test_a_cluster_whose_declared_spec_is_unreadable_can_be_declared_again(folder: Folder) -> None:
    with folder.store.writing() as session:
        session.get_one(Cluster, "prod-1").spec = {"connection": "local", "newer": 1}
    assert folder.plan().count("changed") == 1
    folder.apply()
    assert folder.plan().count("changed") == 0


def test_an_entry_that_an_unreadable_one_refers_to_is_not_removed(folder: Folder) -> None:
    spoil(folder, "Binding")
    with folder.store.writing() as session:
        session.get_one(Binding, "core").source = "git"
    folder.write(TEMPLATE, CASE, CONFIG, CLUSTER, ROUTE)
    with pytest.raises(CatalogError, match="remains, but refers to ProbeCase/dns"):
        folder.apply(prune=True)
    assert len(schedules(folder)) == 2
