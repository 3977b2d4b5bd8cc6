"""Clusters whose namespace or address changes, or that are removed, while runs are open."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import col, select

from kubeprobe import runs, vocabulary
from kubeprobe.clock import utc_now
from kubeprobe.execution.collect import former
from kubeprobe.execution.locations import KEPT_FOR, delete_locations, delete_locations_of_removed_clusters
from kubeprobe.execution.remove import remove_pods
from kubeprobe.fleet.api import pods_path
from kubeprobe.fleet.credentials import from_kubeconfig
from kubeprobe.localcluster import Script
from kubeprobe.store import Cluster, Collector, PodLocation, Store
from kubeprobe.vocabulary import Reason, Verdict
from tests.harness.wait import until
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import NAMESPACE, PASS, Environment, LocalThread

OTHER = "elsewhere"


def change(env: Environment, **values: Any) -> None:
    """Change the cluster's row as `cluster add --replace` does."""
    with env.store.writing() as session:
        version = col(Cluster.connection_version) + 1
        session.execute(update(Cluster).values(connection_version=version, **values))


def change_namespace(env: Environment) -> None:
    namespaces, _ = env.ask(lambda api: api.list_objects("/api/v1/namespaces"))
    if OTHER not in {found["metadata"]["name"] for found in namespaces}:
        env.ask(lambda api: api.call("POST", "/api/v1/namespaces", body={"metadata": {"name": OTHER}}))
    change(env, namespace=OTHER)


def locations(env: Environment) -> list[PodLocation]:
    with env.store.reading() as session:
        return list(session.scalars(select(PodLocation)))


def test_a_run_whose_clusters_namespace_changes_is_judged_by_its_pod_and_nothing_is_left(env: Environment) -> None:
    env.collect()
    run_id = env.start(env.at_the_gate + PASS)
    env.wait_until_running(run_id)
    change_namespace(env)
    after = env.start()
    assert env.outcome(after).reason == Reason.PASSED
    until("the former location to be followed", lambda: any(found.left_at for found in locations(env)))
    assert env.verdicts() == {after: Reason.PASSED}
    env.open_the_gate()
    assert env.outcome(run_id).verdict == Verdict.PASS
    env.wait_until_no_pod_is_left()
    until("the former location to be forgotten", lambda: [found.namespace for found in locations(env)] == [OTHER])


def test_a_pod_that_was_deleted_at_the_former_location_is_unknown(env: Environment) -> None:
    env.collect()
    run_id = env.start(env.at_the_gate + PASS)
    pod = env.wait_until_running(run_id)
    env.stop_collecting()
    change_namespace(env)
    env.delete(pod, grace_s=0)
    env.collect("two")
    assert env.outcome(run_id).reason == Reason.POD_DELETED


def test_a_run_whose_cluster_moves_to_another_server_is_judged_by_its_pod(
    env: Environment, simulated: Callable[[Script], LocalThread]
) -> None:
    env.collect()
    run_id = env.start(env.at_the_gate + PASS)
    env.wait_until_running(run_id)
    other = simulated(Script())
    change(env, connection=env.cipher.seal(from_kubeconfig(other.cluster.kubeconfig, "c0001")))
    assert env.outcome(env.start()).reason == Reason.PASSED
    until("the former location to be followed", lambda: any(found.left_at for found in locations(env)))
    assert run_id not in env.verdicts()
    env.open_the_gate()
    assert env.outcome(run_id).verdict == Verdict.PASS
    env.wait_until_no_pod_is_left()


def test_new_credentials_for_the_same_address_are_no_move(env: Environment) -> None:
    env.collect()
    run_id = env.start(env.at_the_gate + PASS)
    env.wait_until_running(run_id)
    change(env)
    assert env.outcome(env.start()).reason == Reason.PASSED
    env.open_the_gate()
    assert env.outcome(run_id).verdict == Verdict.PASS
    assert [found.left_at for found in locations(env)] == [None]


@pytest.mark.parametrize("is_added_again", [False, True])
def test_the_pods_of_a_removed_cluster_are_deleted_when_their_runs_expire(
    env: Environment,
    is_added_again: bool,  # noqa: FBT001
) -> None:
    run_id = env.start(env.at_the_gate + PASS)
    env.wait_until_running(run_id)
    row = env.find(Cluster, "local").model_dump()
    with env.store.writing() as session:
        session.execute(delete(Cluster))
        if is_added_again:
            session.add(Cluster(**{**row, "namespace": OTHER}))
    expired = runs.expire(env.store, env.run(run_id).expires_at)
    assert env.outcome(run_id).verdict == Verdict.UNKNOWN
    for run in expired.effects.remove:
        remove_pods(env.launcher, run.cluster, [run.id])
    env.wait_until_no_pod_is_left()


def test_a_location_that_cannot_be_reached_is_given_up_when_its_runs_have_ended(
    make_environment: MakeEnvironment, sqlite: Store, simulated: Callable[[Script], LocalThread], local: LocalThread
) -> None:
    gone = simulated(Script(after=3600))
    env = make_environment(sqlite, gone, context="c0001")
    env.collect()
    run_id = env.start()
    env.wait_until_running(run_id)
    gone.stop()
    change(env, connection=env.cipher.seal(from_kubeconfig(local.cluster.kubeconfig, None)))
    [former] = until("the former location to be followed", lambda: [f for f in locations(env) if f.left_at])
    later = utc_now() + 2 * KEPT_FOR
    assert not delete_locations(env.store, [former], (), later), "a run is open there"
    runs.expire(env.store, env.run(run_id).expires_at)
    outcome = env.outcome(run_id)
    assert (outcome.reason, "former location" in outcome.message) == (Reason.CLUSTER_UNREACHABLE, True)
    assert not delete_locations(env.store, [former], (), utc_now()), "it may be reached again"
    assert delete_locations(env.store, [former], (), later) == {former.id}


def test_the_locations_of_removed_clusters_are_kept_while_runs_are_open(env: Environment) -> None:
    run_id = env.start(env.at_the_gate + PASS)
    with env.store.writing() as session:
        session.execute(delete(Cluster))
    for _ in range(2):
        delete_locations_of_removed_clusters(env.store, utc_now() + 2 * KEPT_FOR)
    assert locations(env), "its pod could not be found without it"
    env.end(run_id, Reason.CLUSTER_REMOVED)
    delete_locations_of_removed_clusters(env.store, utc_now())
    assert locations(env), "its pod is about to be deleted"
    delete_locations_of_removed_clusters(env.store, utc_now() + 4 * KEPT_FOR)
    assert not locations(env)
    env.open_the_gate()
    for pod in env.pods():
        env.delete(pod, grace_s=0)


def test_a_former_location_with_a_pod_that_cannot_be_read_is_not_drained(env: Environment) -> None:
    run_id = env.start(env.at_the_gate + PASS)
    pod = env.wait_until_running(run_id)
    patch = {"metadata": {"annotations": {vocabulary.ANNOTATION_POLICY: "{"}}}
    env.ask(lambda api: api.merge_patch(pods_path(NAMESPACE, pod["metadata"]["name"]), patch, {}))
    env.end(run_id, Reason.CLUSTER_REMOVED)
    change_namespace(env)
    env.collect()
    shown = "at its former location kubeprobe: 1 pods set aside"
    until("the trouble to be shown", lambda: shown in env.find(Cluster, "local").watch_trouble)
    assert env.outcome(env.start()).reason == Reason.PASSED
    assert {found.namespace for found in locations(env)} == {NAMESPACE, OTHER}
    env.delete(pod, grace_s=0)
    until("the former location to be deleted", lambda: [found.namespace for found in locations(env)] == [OTHER])
    until("the trouble to end", lambda: not env.find(Cluster, "local").watch_trouble)


def test_a_former_location_that_cannot_be_followed_delays_no_renewal_of_leases(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, stuck = threading.Event(), list[str]()

    def wait(*_: Any) -> Any:
        stuck.append("stuck")
        released.wait()
        return []

    monkeypatch.setattr(former, "former_locations", wait)

    def leased_until() -> datetime:
        found: datetime = env.find(Collector, "one").leased_until
        return found

    try:
        env.collect()
        until("the following to be stuck", lambda: stuck)
        for _ in range(3):
            before = leased_until()
            until("the lease to be renewed", lambda known=before: leased_until() > known)
        assert env.outcome(env.start()).reason == Reason.PASSED
    finally:
        released.set()
