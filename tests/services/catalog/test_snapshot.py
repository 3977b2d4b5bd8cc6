"""The catalog copy of a process."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import event

from kubeprobe.catalog import CatalogCache, CatalogNotFoundError, CatalogUnreadableError, load_catalog
from kubeprobe.store import ProbeCase
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, document


def test_an_empty_store_has_an_empty_catalog(store):
    with store.reading() as session:
        catalog = load_catalog(session)
    assert (catalog.version, catalog.cases, catalog.bindings) == (0, {}, {})


def test_a_cached_catalog_costs_one_statement(folder, store):
    folder.apply()
    cache, statements = CatalogCache(), []
    with store.reading() as session:
        first = cache.current(session)
    event.listen(store.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with store.reading() as session:
        assert cache.current(session) is first
    assert len([found for found in statements if found.startswith("SELECT")]) == 1


def test_the_cache_is_reloaded_after_an_apply(folder, store):
    folder.apply()
    cache = CatalogCache()
    with store.reading() as session:
        assert cache.current(session).case("pod-lifecycle").kind == "blackbox"
    folder.write(TEMPLATE, CASE.replace("blackbox", "inspection"), BINDING, CLUSTER).apply()
    with store.reading() as session:
        assert cache.current(session).case("pod-lifecycle").kind == "inspection"


def test_threads_share_one_copy(folder, store):
    folder.apply()
    cache, found = CatalogCache(), []
    start = threading.Barrier(8)

    def ask():
        start.wait(30)
        with store.reading() as session:
            found.append(cache.current(session))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len({id(catalog) for catalog in found}) == 1


def test_every_kind_round_trips_through_the_store(folder, store):
    config = (
        "{for: pod-lifecycle, values: {A: b}, overrides: [{clusterSelector: {matchLabels: {a: b}}, values: {A: c}}]}"
    )
    route = "{match: {severities: [critical], kinds: [fail]}, targets: [{name: log, log: {}}]}"
    folder.write(
        TEMPLATE, CASE, BINDING, CLUSTER, document("RenderConfig", config), document("AlertRoute", route)
    ).apply()
    with store.reading() as session:
        catalog = load_catalog(session)
    assert catalog.render_configs["x"].values_for("prod-1", {"a": "b"}) == {"A": "c"}
    assert catalog.routes["x"].targets[0].log is not None
    assert catalog.templates["probes"].image == "docker.io/kubeprobe/probes:dev"


def test_bindings_are_found_by_the_component_that_changed(folder, store):
    on_change = BINDING.replace("periodic: {every: 5m}", "change: {component: coredns}")
    folder.write(TEMPLATE, CASE, on_change, on_change.replace("core}", "off}") + "  paused: true\n", CLUSTER).apply()
    with store.reading() as session:
        catalog = load_catalog(session)
    assert [name for name, _ in catalog.bindings_on_change("coredns")] == ["core"]
    assert list(catalog.bindings_on_change("etcd")) == []


def test_an_unknown_name_is_an_error_with_the_nearest(folder, store):
    folder.apply()
    with store.reading() as session, pytest.raises(CatalogNotFoundError, match="Did you mean 'pod-lifecycle'"):
        load_catalog(session).case("pod-lifecycl")


def test_an_incompatible_stored_spec_is_reported_and_fixed_by_applying_again(folder, store):
    folder.apply()
    with store.writing() as session:
        session.get(ProbeCase, "pod-lifecycle").spec = {"template": "probes", "kind": "blackbox", "newer": 1}
    with store.reading() as session:
        catalog = load_catalog(session)
    with pytest.raises(CatalogUnreadableError, match=r"ProbeCase 'pod-lifecycle'.*newer"):
        catalog.case("pod-lifecycle")
    assert list(catalog.bindings) == ["core"]
    folder.apply()
    with store.reading() as session:
        assert load_catalog(session).case("pod-lifecycle").kind == "blackbox"


def test_the_configs_of_a_case_are_found_without_reading_all(folder):
    folder.write(TEMPLATE, CASE, *(document("RenderConfig", "{for: pod-lifecycle, values: {A: b}}", "a"),)).apply()
    with folder.store.reading() as session:
        catalog = load_catalog(session)
    read = []

    class Counted(dict):
        def items(self):
            read.append(1)
            return super().items()

    catalog = replace(catalog, render_configs=Counted(catalog.render_configs))
    for _ in range(3):
        assert catalog.render_config("pod-lifecycle", None).values == {"A": "b"}
        assert catalog.render_config("other", None) is None
    assert len(read) == 1
