"""Applying a folder: all of it or nothing; idempotent."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlmodel import select

from kubeprobe.catalog import Action, CatalogError, apply, connections, known_names, load_catalog, parse
from kubeprobe.fleet import clusters
from kubeprobe.fleet.credentials import local
from kubeprobe.store import Binding, Cluster, ProbeCase, ProbeTemplate, Schedule
from tests.services.catalog.conftest import NOW
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, document


def actions(applied):
    return {(item.kind, item.name): item.action for item in applied.items}


def test_apply_writes_a_folder_to_the_store(folder, store):
    applied = folder.apply()
    assert set(actions(applied).values()) == {Action.ADDED}
    assert (applied.version, applied.schedules.added) == (1, 1)
    with store.reading() as session:
        catalog = load_catalog(session)
        assert catalog.case("pod-lifecycle").template == "probes"
        row = session.get(ProbeCase, "pod-lifecycle")
        assert row.spec == {"template": "probes", "kind": "blackbox"}
        assert row.origin.endswith("catalog.yaml:6")
        assert row.applied_at == NOW
        cluster = session.get(Cluster, "prod-1")
        assert (cluster.labels, cluster.connection_kind) == ({"region": "eu"}, "local")
        assert folder.connector.cipher.open(cluster.connection) == local(folder.connector.local_kubeconfig)


def test_applying_the_same_folder_again_changes_nothing(folder, store):
    folder.apply()
    with store.reading() as session:
        before = {row.id: row.next_due for row in session.exec(select(Schedule))}
    applied = folder.apply(now=NOW + timedelta(hours=1))
    assert set(actions(applied).values()) == {Action.UNCHANGED}
    assert (applied.version, applied.changed_anything) == (1, False)
    with store.reading() as session:
        assert {row.id: row.next_due for row in session.exec(select(Schedule))} == before
        assert session.get(ProbeCase, "pod-lifecycle").applied_at == NOW


def test_a_document_that_only_moved_keeps_the_version_and_gets_its_new_origin(folder, store):
    folder.apply()
    applied = folder.write("# a remark\n\n", TEMPLATE, CASE, BINDING, CLUSTER).apply()
    assert applied.version == 1
    with store.reading() as session:
        assert session.get(ProbeCase, "pod-lifecycle").origin.endswith("catalog.yaml:9")


def test_a_changed_field_is_written_and_increments_the_version(folder, store):
    folder.apply()
    applied = folder.write(TEMPLATE, CASE.replace("blackbox", "inspection"), BINDING, CLUSTER).apply()
    assert actions(applied)["ProbeCase", "pod-lifecycle"] is Action.CHANGED
    assert applied.version == 2
    with store.reading() as session:
        assert load_catalog(session).case("pod-lifecycle").kind == "inspection"


def test_without_prune_an_undeclared_entry_is_kept(folder, store):
    folder.apply()
    applied = folder.write(CASE).apply()
    assert actions(applied)["Binding", "core"] is Action.KEPT
    assert applied.version == 1
    with store.reading() as session:
        assert session.get(Binding, "core") is not None


def test_prune_removes_undeclared_entries_with_their_schedules(folder, store):
    folder.apply()
    applied = folder.write(TEMPLATE, CASE).apply(prune=True)
    assert actions(applied)["Binding", "core"] is Action.REMOVED
    assert actions(applied)["Cluster", "prod-1"] is Action.REMOVED
    with store.reading() as session:
        assert session.get(Binding, "core") is None
        assert session.get(Cluster, "prod-1") is None
        assert session.exec(select(Schedule)).all() == []


def test_prune_keeps_a_cluster_that_was_added_by_hand(folder, store):
    with store.writing() as session:
        spec = clusters.ClusterRegistration("by-hand", {"region": "eu"})
        clusters.add(session, spec, local(folder.path), folder.connector.cipher, NOW)
    applied = folder.apply(prune=True)
    assert ("Cluster", "by-hand") not in actions(applied)
    assert applied.schedules.added == 2


def test_declaring_a_cluster_that_was_added_by_hand_takes_it_over(folder, store):
    with store.writing() as session:
        clusters.add(session, clusters.ClusterRegistration("prod-1"), local(folder.path), folder.connector.cipher, NOW)
    assert actions(folder.apply())["Cluster", "prod-1"] is Action.CHANGED
    with store.reading() as session:
        row = session.get(Cluster, "prod-1")
        assert (row.labels, row.spec) == ({"region": "eu"}, {"labels": {"region": "eu"}, "connection": "local"})


def test_pruning_a_template_that_is_still_used_is_rejected_and_changes_nothing(folder, store):
    folder.apply()
    with pytest.raises(CatalogError, match="there is no ProbeTemplate 'probes'"):
        folder.write(CASE, BINDING, CLUSTER).apply(prune=True)
    with store.reading() as session:
        assert session.get(ProbeTemplate, "probes") is not None
        assert load_catalog(session).version == 1


def test_a_reference_that_broke_after_parsing_is_rejected(folder, store):
    """Between parsing and applying, another apply removed the template."""
    folder.apply()
    with store.reading() as session:
        late = parse([folder.write(CASE).path], known_names(session))
    folder.write(document("ProbeTemplate", "{image: a}")).apply(prune=True)
    with pytest.raises(CatalogError, match="there is no ProbeTemplate 'probes'"), store.writing() as session:
        apply(session, late, folder.connector, NOW)
    with store.reading() as session:
        assert session.get(ProbeCase, "pod-lifecycle") is None


def test_labels_of_a_cluster_change_without_a_new_connection(folder, store):
    folder.apply()
    with store.writing() as session:
        clusters.cordon(session, "prod-1", "repair", NOW)
    applied = folder.write(TEMPLATE, CASE, BINDING, CLUSTER.replace("eu", "us")).apply()
    assert actions(applied)["Cluster", "prod-1"] is Action.CHANGED
    assert applied.schedules.removed == 1
    with store.reading() as session:
        row = session.get(Cluster, "prod-1")
        assert (row.labels, row.connection_version, row.cordon_reason) == ({"region": "us"}, 1, "repair")


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: main
contexts: [{name: main, context: {cluster: main, user: main}}]
clusters: [{name: main, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: main, user: {token: TOKEN}}]
"""


def test_new_credentials_in_the_same_kubeconfig_are_a_change(folder, store):
    kubeconfig = folder.path / "prod-1.kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    folder.write(document("Cluster", "{connection: {kubeconfig: {file: prod-1.kubeconfig}}}", "prod-1")).apply()
    assert folder.apply().changed_anything is False
    kubeconfig.write_text(KUBECONFIG.replace("TOKEN", "another"))
    changed = next(item for item in folder.plan().items if item.name == "prod-1")
    assert changed.action is Action.CHANGED
    assert "another" not in str(changed)
    folder.apply()
    with store.reading() as session:
        row = session.get(Cluster, "prod-1")
        assert row.connection_version == 2
        assert "another" in str(folder.connector.cipher.open(row.connection).config)
        assert "another" not in str(row.spec)
    assert folder.apply().changed_anything is False


def test_a_kubeconfig_is_read_once_for_all_its_clusters(folder, store, monkeypatch):
    """One with the contexts of a thousand clusters takes half a second to parse."""
    read, files = connections.read_kubeconfig, []

    def count(path):
        files.append(path.name)
        return read(path)

    monkeypatch.setattr(connections, "read_kubeconfig", count)
    (folder.path / "all.kubeconfig").write_text(KUBECONFIG)
    folder.write(
        *(document("Cluster", "{connection: {kubeconfig: {file: all.kubeconfig}}}", f"c{n}") for n in range(9))
    )
    folder.apply()
    assert files == ["all.kubeconfig"]


def test_a_kubeconfig_in_the_home_of_nobody_is_a_problem_of_its_document(folder, store):
    with pytest.raises(CatalogError, match="there is no such user on this machine"):
        folder.write(document("Cluster", "{connection: {kubeconfig: {file: ~no-such-user/c}}}", "c")).apply()


def test_all_unusable_kubeconfigs_are_reported_at_once_and_nothing_changes(folder, store):
    documents = [document("Cluster", f"{{connection: {{kubeconfig: {{file: nowhere-{n}}}}}}}", f"c{n}") for n in (1, 2)]
    with pytest.raises(CatalogError) as caught:
        folder.write(TEMPLATE, *documents).apply()
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [
        (6, "spec.connection"),
        (11, "spec.connection"),
    ]
    with store.reading() as session:
        assert session.get(ProbeTemplate, "probes") is None


def test_concurrent_applies_wait_for_one_another(folder, store):
    """Eight versions of the same folder are applied at the same time: each completely, none is lost."""
    with store.reading() as session:
        declarations = []
        for number in range(8):
            folder.write(TEMPLATE, CASE, BINDING.replace("5m", f"{number + 1}m"), CLUSTER)
            declarations.append(parse([folder.path], known_names(session)))
    failures = []

    def one(declaration):
        try:
            with store.writing() as session:
                apply(session, declaration, folder.connector, NOW)
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=one, args=(declaration,)) for declaration in declarations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with store.reading() as session:
        catalog = load_catalog(session)
        assert catalog.version == 8
        (row,) = session.exec(select(Schedule)).all()
        assert row.every_s == catalog.binding("core").on.periodic.every.total_seconds()


def test_what_a_template_may_not_do_is_refused_by_plan_and_apply(folder):
    folder.write(TEMPLATE, document("ProbeTemplate", "{image: a, pod: {hostPID: true}}"))
    for action in (folder.plan, folder.apply):
        with pytest.raises(CatalogError, match=r"hostPID is not allowed; expected only for .* lists: x$"):
            action()


def test_many_entries_are_written_and_moved_in_few_statements(folder, store):
    def documents(kind):
        cases = [CASE.replace("pod-lifecycle", f"case-{number}").replace("blackbox", kind) for number in range(200)]
        return [TEMPLATE, *cases, *(CLUSTER.replace("prod-1", f"c-{number}") for number in range(30))]

    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        assert folder.write(*documents("blackbox")).apply().changed_anything
        added = len(statements)
        assert folder.write(*documents("inspection")).apply().changed_anything
        assert not folder.write("# moved\n" + TEMPLATE, *documents("inspection")[1:]).apply().changed_anything
        folder.connector = replace(folder.connector, local_kubeconfig=folder.path / "renewed")
        assert folder.apply().changed_anything
        changed = len(statements) - added
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    assert added < 40
    assert changed < 120
    with store.reading() as session:
        found = {row.name: (row.origin.rpartition(":")[2], row.spec["kind"]) for row in session.exec(select(ProbeCase))}
        versions = set(session.exec(select(Cluster.connection_version)))
    assert (found["case-0"], versions) == (("8", "inspection"), {2})
    del statements[:]
    event.listen(store.engine, "before_cursor_execute", note)
    try:
        assert folder.write(TEMPLATE).apply(prune=True).changed_anything
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    assert len(statements) < 40
    with store.reading() as session:
        assert [*session.exec(select(ProbeCase.name)), *session.exec(select(Cluster.name))] == []
