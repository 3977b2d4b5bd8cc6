"""Owners: an entry belongs to the source that declares it, or to no source."""

import pytest
from sqlmodel import select

from kubeprobe.catalog import (
    Action,
    ApplyResult,
    Author,
    CatalogError,
    apply,
    known_names,
    load_catalog,
    make_plan,
    parse,
)
from kubeprobe.store import Cluster, ProbeCase, ProbeTemplate
from tests.services.catalog.conftest import NOW, Folder
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE

OTHER = CASE.replace("pod-lifecycle", "other")


def applied(folder: Folder, author: Author, *documents: str, prune: bool = False) -> ApplyResult:
    """Apply these documents as this author."""
    folder.write(*documents)
    with folder.store.writing() as session:
        declaration = parse([folder.path], known_names(session, prune=prune, source=author.source))
        return apply(session, declaration, folder.connector, NOW, prune=prune, author=author)


def owners(folder: Folder) -> dict[str, tuple[str | None, str | None]]:
    with folder.store.reading() as session:
        return {row.name: (row.source, row.commit_id) for row in session.exec(select(ProbeCase))}


A, B = Author("a", "a1"), Author("b", "b1")
TAKES_OVER = Author("a", "a1", takes_over=True)


def test_a_source_that_may_takes_over_an_entry_of_no_source_and_the_plan_shows_it(folder: Folder) -> None:
    folder.apply()
    with folder.store.reading() as session:
        planned = make_plan(session, parse([folder.path]), folder.connector, NOW, author=TAKES_OVER)
    assert {item.action for item in planned.items} == {Action.CHANGED}
    assert planned.items[0].fields[-1].after == "source a"
    applied(folder, TAKES_OVER, TEMPLATE, CASE, BINDING, CLUSTER)
    assert owners(folder) == {"pod-lifecycle": ("a", "a1")}
    with folder.store.reading() as session:
        assert session.get(Cluster, "prod-1").source == "a"


def test_an_entry_of_two_sources_is_an_error_that_names_both(folder: Folder) -> None:
    applied(folder, A, TEMPLATE, CASE)
    with pytest.raises(CatalogError) as refused:
        applied(folder, B, CASE, OTHER)
    (problem,) = refused.value.problems
    assert problem.document == "ProbeCase/pod-lifecycle"
    assert "belongs to source a" in problem.message and "source b declares it too" in problem.message
    assert owners(folder) == {"pod-lifecycle": ("a", "a1")}


def test_prune_removes_only_entries_of_the_same_owner(folder: Folder) -> None:
    applied(folder, A, TEMPLATE, CASE)
    applied(folder, B, OTHER)
    applied(folder, Author("b", "b2"), CASE.replace("pod-lifecycle", "third"), prune=True)
    assert set(owners(folder)) == {"pod-lifecycle", "third"}
    folder.write(TEMPLATE.replace("probes}", "mine}")).apply(prune=True)
    assert set(owners(folder)) == {"pod-lifecycle", "third"}


def test_an_entry_that_another_source_refers_to_is_not_removed(folder: Folder) -> None:
    applied(folder, A, TEMPLATE, CASE)
    applied(folder, B, OTHER)
    with pytest.raises(CatalogError) as refused:
        applied(folder, Author("a", "a2"), TEMPLATE.replace("probes}", "new}"), prune=True)
    (problem,) = refused.value.problems
    assert problem.document == "ProbeCase/other"
    assert "(source b) remains, but refers to ProbeTemplate/probes, which is removed" in problem.message
    with folder.store.reading() as session:
        assert session.get(ProbeTemplate, "probes") is not None


def test_a_person_can_change_an_entry_of_a_source_only_with_override(folder: Folder) -> None:
    applied(folder, A, TEMPLATE, CASE)
    changed = CASE.replace("kind: blackbox", "kind: inspection")
    with pytest.raises(CatalogError, match="belongs to source a"):
        applied(folder, Author(), changed)
    applied(folder, Author(overrides=True), changed)
    assert owners(folder) == {"pod-lifecycle": ("a", None)}, "it still belongs to a, but has no commit"
    applied(folder, Author("a", "a2"), TEMPLATE, CASE)
    assert owners(folder) == {"pod-lifecycle": ("a", "a2")}


def test_an_apply_reverts_labels_that_were_changed_by_hand(folder: Folder) -> None:
    folder.apply()
    with folder.store.writing() as session:
        cluster = session.get(Cluster, "prod-1")
        cluster.labels = {"region": "us"}
    (change,) = [item for item in folder.plan().items if item.kind == "Cluster"]
    assert [(field.path, field.before, field.after) for field in change.fields] == [("spec.labels.region", "us", "eu")]
    folder.apply()
    with folder.store.reading() as session:
        assert session.get(Cluster, "prod-1").labels == {"region": "eu"}


def test_a_case_tells_its_commit_to_who_opens_runs(folder: Folder) -> None:
    applied(folder, A, TEMPLATE, CASE)
    folder.write(OTHER).apply()
    with folder.store.reading() as session:
        assert load_catalog(session).commits == {"pod-lifecycle": "a@a1"}
