"""Kubeconfigs in a repository: who can push to it must not control the workers."""

from pathlib import Path

import pytest

from tests.harness.kubeconfig import KUBECONFIG
from tests.services.sources.given import CASE, CLUSTER, World

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def declare(world: World, kubeconfig: str, file: str = "prod.conf") -> str:
    """A cluster that names a kubeconfig of its repository; returns the commit."""
    named = CLUSTER.replace("connection: local", f"connection: {{kubeconfig: {{file: {file!r}}}}}")
    path = world.repository.tree / "catalog" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(kubeconfig)
    return world.repository.push(catalog__prod_yaml=named)


@pytest.mark.parametrize("first", ["", "null, "])
def test_a_self_contained_kubeconfig_is_accepted(world: World, first: str) -> None:
    declare(world, KUBECONFIG.replace("users: [", f"users: [{first}"))
    assert world.add().applied.changed_anything


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("cluster: {server: 'https://x'}, user: {tokenFile: /etc/hostname}", "has 'tokenFile'"),
        ("user: {x: 1}, cluster: {server: 'https://x', certificate-authority: AUTHORITY}", "'certificate-authority'"),
        ("user: text, cluster: {server: 'https://x'}", "user 'c' is not a mapping"),
        ("cluster: text", "clusters[0].cluster is text; expected a mapping"),
    ],
)
def test_a_kubeconfig_that_reads_files_of_the_worker_is_rejected(
    world: World, tmp_path: Path, entry: str, reason: str
) -> None:
    world.add()
    authority = tmp_path / "authority.pem"
    authority.write_text(PEM)
    entry = entry.replace("AUTHORITY", str(authority))
    declare(world, KUBECONFIG.replace('cluster: {server: "https://127.0.0.1:1"}', entry))
    world.repository.push(catalog__dns_yaml=CASE.replace("network", "platform"))
    assert reason in world.poll()[0].error
    assert world.case().spec["owner"] == "network", "nothing of the commit is in force"


def test_a_folder_named_tilde_is_one_of_the_repository(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config").write_text(KUBECONFIG.replace("server", "sever"))
    declare(world, KUBECONFIG, "~/config")
    assert world.add().applied.changed_anything


@pytest.mark.parametrize(("kubeconfig", "reason"), [("a: [", "is not YAML"), ("text", "is not a kubeconfig")])
def test_an_invalid_kubeconfig_is_reported_with_its_path_in_the_repository(
    world: World, kubeconfig: str, reason: str
) -> None:
    world.add()
    commit = declare(world, kubeconfig, "keys/../keys/prod.conf")
    error_text = world.poll()[0].error
    assert f"Cluster/prod-1: spec.connection: team@{commit[:12]}:catalog/keys/prod.conf: {reason}" in error_text
    assert str(world.context.folder) not in error_text
