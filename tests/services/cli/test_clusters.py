"""`kubeprobe cluster ...`: every change of a cluster updates its schedules."""

from pathlib import Path

from sqlmodel import select

from kubeprobe.store import Cluster, Schedule, Store
from tests.harness.kubeconfig import KUBECONFIG
from tests.services.cli.conftest import CommandLine


def scheduled(store: Store) -> list[str]:
    with store.reading() as session:
        return sorted(session.exec(select(Schedule.cluster)).all())


def test_an_added_cluster_is_listed_and_scheduled(ready: CommandLine, store: Store) -> None:
    ready.add_cluster("prod-3", "region=eu", "wave=1")
    assert scheduled(store) == ["prod-1", "prod-3"]
    assert [cluster["name"] for cluster in ready.json("cluster", "list", "-l", "wave=1")] == ["prod-3"]


def test_json_of_clusters_is_stable(ready: CommandLine) -> None:
    first, _ = ready.json("cluster", "list")
    assert first == {
        "name": "prod-1",
        "labels": {"region": "eu"},
        "pool": "default",
        "namespace": "kubeprobe",
        "maxInFlight": 30,
        "inFlight": 0,
        "connection": "kubeconfig",
        "declared": False,
        "cordonedAt": None,
        "cordonReason": "",
        "failures": 0,
        "openUntil": None,
        "collector": None,
        "state": "unwatched",
    }


def test_credentials_are_not_printed_and_stored_encrypted(ready: CommandLine, store: Store) -> None:
    shown = ready("cluster", "list").stdout + ready("cluster", "list", "-o", "json").stdout
    assert "very-secret" not in shown
    with store.reading() as session:
        assert b"very-secret" not in session.get_one(Cluster, "prod-1").connection


def test_adding_and_removing_labels_updates_schedules(ready: CommandLine, store: Store) -> None:
    ready("cluster", "label", "prod-2", "region=eu", "wave=2")
    assert scheduled(store) == ["prod-1", "prod-2"]
    output = ready("cluster", "label", "prod-1", "region-").stdout
    assert "1 removed" in output
    assert scheduled(store) == ["prod-2"]
    assert "no label 'regoin'" in ready("cluster", "label", "prod-2", "regoin-", code=2).stderr


def test_a_cordon_shows_its_reason_and_can_be_undone(ready: CommandLine) -> None:
    ready("cluster", "cordon", "prod-1", "--reason", "new nodes")
    assert "new nodes" in ready("cluster", "list").stdout
    assert "Cordoned" in ready("run", "dns", "-c", "prod-1", code=2).stderr
    ready("cluster", "uncordon", "prod-1")
    assert ready.json("cluster", "list")[0]["cordonedAt"] is None


def test_removing_a_cluster_needs_confirmation(ready: CommandLine, store: Store) -> None:
    ready("cluster", "remove", "prod-1", typed="n\n", code=1)
    assert scheduled(store) == ["prod-1"]
    ready("cluster", "remove", "prod-1", "--yes")
    assert scheduled(store) == []
    assert "Did you mean 'prod-2'?" in ready("cluster", "remove", "prod-1", code=2).stderr


def test_adding_an_existing_cluster_needs_replace(ready: CommandLine) -> None:
    file = ready.write("kubeconfig", KUBECONFIG)
    assert "--replace" in ready("cluster", "add", "prod-1", "--kubeconfig", file, code=2).stderr
    ready("cluster", "add", "prod-1", "--kubeconfig", file, "--replace", "--label", "region=eu")


def test_adding_a_cluster_needs_a_readable_kubeconfig_and_context(kubeprobe: CommandLine) -> None:
    assert "--kubeconfig" in kubeprobe("cluster", "add", "prod-1", code=2).stderr
    assert "no/such/file" in kubeprobe("cluster", "add", "p", "--kubeconfig", "no/such/file", code=2).stderr
    file = kubeprobe.write("kubeconfig", KUBECONFIG)
    output = kubeprobe("cluster", "add", "p", "--kubeconfig", file, "--context", "admn", code=2).stderr
    assert "Did you mean 'admin'?" in output


def test_checking_an_unreachable_cluster_suggests_a_fix(ready: CommandLine) -> None:
    output = ready("cluster", "check", "prod-1", code=1).stdout
    assert "problem  reachable" in output
    assert "cluster add NAME" in output
    (finding,) = ready.json("cluster", "check", "prod-1", code=1)
    assert (finding["check"], finding["ok"]) == ("reachable", False)


def test_the_secret_key_is_readable_by_its_owner_only(ready: CommandLine) -> None:
    key = Path(ready.folder) / "data" / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600
