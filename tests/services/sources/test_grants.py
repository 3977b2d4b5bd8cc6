"""A source may declare only what the person who added it allowed."""

from pathlib import Path

import pytest

from kubeprobe.catalog import CatalogError
from kubeprobe.sources import Grant
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


@pytest.mark.parametrize("grant", list(Grant))
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
