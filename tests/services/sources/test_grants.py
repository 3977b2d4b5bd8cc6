"""A source may declare only what the person who added it allowed."""

from pathlib import Path

import pytest

from kubeprobe.catalog import CatalogError, apply, known_names, load_catalog, parse
from kubeprobe.sources import Grant
from kubeprobe.store import AlertRoute
from tests.harness.repository import Repository
from tests.services.sources.given import CASE, TEMPLATE, World

ROUTE = """\
apiVersion: kubeprobe.io/v1
kind: AlertRoute
metadata: {name: ops}
spec:
  targets:
    - {name: here, log: {}}
    - {name: there, TARGET}
"""
KUBECONFIG = """\
apiVersion: v1
current-context: c
contexts: [{name: c, context: {cluster: c, user: c}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: c, user: {token: t}}]
"""
CLUSTER = """\
apiVersion: kubeprobe.io/v1
kind: Cluster
metadata: {name: prod-1}
spec: {connection: CONNECTION}
"""
DECLARED = {
    Grant.LOCAL: ("prod", CLUSTER.replace("CONNECTION", "local"), "the local cluster"),
    Grant.IN_CLUSTER: ("prod", CLUSTER.replace("CONNECTION", "inCluster"), "the cluster that KubeProbe runs in"),
    Grant.CLUSTERS: ("prod", CLUSTER.replace("CONNECTION", "{kubeconfig: {file: prod_conf}}"), "with a kubeconfig"),
    Grant.TARGETS: (
        "route",
        ROUTE.replace("TARGET", "webhook: {url: 'http://169.254.169.254/'}"),
        "a target with an address",
    ),
    Grant.SECRET_FILES: (
        "route",
        ROUTE.replace("TARGET", "apprise: {urlFrom: {file: /etc/shadow}}"),
        "in a file of the responder",
    ),
    Grant.SECRET_ENV: (
        "route",
        ROUTE.replace("TARGET", "apprise: {urlFrom: {env: KUBEPROBE_SECRET_KEY}}"),
        "in an environment variable",
    ),
}


@pytest.mark.parametrize("grant", DECLARED)
def test_what_a_source_may_not_declare_is_refused_by_name_and_place(world: World, grant: Grant) -> None:
    name, text, what = DECLARED[grant]
    (world.repository.tree / "catalog" / "prod.yaml").unlink()
    world.repository.push(**{f"catalog__{name}_yaml": text, "catalog__prod_conf": KUBECONFIG})
    with pytest.raises(CatalogError) as caught:
        world.add(allow=())
    (problem,) = caught.value.problems
    assert f"catalog/{name}.yaml:1" in str(problem)
    assert f"source team may not declare {what}" in str(problem).replace("a cluster with", "with").replace(
        "a secret in", "in"
    )
    assert f"--allow {grant}" in str(problem)
    assert world.cases() == set()
    world.add(allow=(grant,))
    assert world.cases() == {"dns"}


def by_hand(world: World, folder: Path, **documents: str) -> None:
    """Apply documents by hand."""
    for name, text in documents.items():
        (folder / f"{name}.yaml").write_text(text)
    with world.context.store.writing() as session:
        declaration = parse([folder], known_names(session))
        apply(session, declaration, world.context.connector, world.now)


def test_what_was_applied_by_hand_is_not_taken_over_without_a_grant(world: World, tmp_path: Path) -> None:
    (folder := tmp_path / "hand").mkdir()
    sends = ROUTE.replace("TARGET", "webhook: {url: 'https://pager.example.com/'}")
    by_hand(world, folder, route=sends, case=f"{TEMPLATE}---\n{CASE}", cluster=CLUSTER.replace("CONNECTION", "local"))
    world.repository.push(catalog__route_yaml=ROUTE.replace("    - {name: there, TARGET}\n", ""))
    with pytest.raises(CatalogError) as caught:
        world.add()
    problems = {problem.document: problem for problem in caught.value.problems}
    assert set(problems) == {"AlertRoute/ops", "Cluster/prod-1", "ProbeCase/dns", "ProbeTemplate/probes"}
    shown = str(problems["AlertRoute/ops"])
    assert "catalog/route.yaml:1: AlertRoute/ops" in shown
    assert f"belongs to no source ({folder}/route.yaml:1)" in shown
    assert "source team declares it too" in shown and "--allow take-over" in shown
    with world.context.store.reading() as session:
        assert [target.name for target in load_catalog(session).routes["ops"].targets] == ["here", "there"]
    world.add(allow=(Grant.LOCAL, Grant.TAKE_OVER))
    with world.context.store.reading() as session:
        assert [target.name for target in load_catalog(session).routes["ops"].targets] == ["here"]
        assert session.get_one(AlertRoute, "ops").source == "team"


def test_an_entry_that_is_applied_by_hand_later_is_not_taken_over_by_a_push(world: World, tmp_path: Path) -> None:
    world.add()
    (folder := tmp_path / "hand").mkdir()
    by_hand(world, folder, route=ROUTE.replace("TARGET", "webhook: {url: 'https://pager.example.com/'}"))
    world.repository.push(catalog__route_yaml=ROUTE.replace("    - {name: there, TARGET}\n", ""))
    assert "AlertRoute/ops: this entry belongs to no source" in world.poll()[0].error
    with world.context.store.reading() as session:
        assert session.get_one(AlertRoute, "ops").source is None
    world.add(replace=True, allow=(Grant.LOCAL, Grant.TAKE_OVER))
    world.add(replace=True, allow=(Grant.LOCAL,))  # what was taken over stays the source's
    with world.context.store.reading() as session:
        assert session.get_one(AlertRoute, "ops").source == "team"


def test_a_grant_is_taken_back_at_the_next_sync_that_needs_it(world: World, tmp_path: Path) -> None:
    world.add(allow=(Grant.LOCAL,))
    (world.repository.tree / "catalog" / "prod.yaml").unlink()
    world.repository.push()
    changed = world.add(replace=True, allow=())
    assert changed.changes == ("allowed: local -> nothing",)
    world.repository.push(catalog__prod_yaml=CLUSTER.replace("CONNECTION", "local"))
    assert "may not declare the local cluster" in world.poll()[0].error


def test_replacing_a_source_keeps_what_it_may_declare(world: World) -> None:
    world.add(allow=(Grant.LOCAL,))
    assert world.add(replace=True, allow=None, branch="main").changes == ()
    assert world.source().allow == ["local"]


def test_another_repository_does_not_inherit_what_a_source_may_declare(world: World, tmp_path: Path) -> None:
    world.add(allow=(Grant.LOCAL,))
    other = Repository(tmp_path / "other")
    other.push(catalog__dns_yaml=f"{TEMPLATE}---\n{CASE}")
    changed = world.add(url=str(other.bare), replace=True, allow=None)
    assert "allowed: local -> nothing" in (changed.changes or ())
