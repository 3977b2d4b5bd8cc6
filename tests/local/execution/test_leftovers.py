"""Leftovers of killed probes are deleted after their run and recorded once; nothing else is touched."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import select

from kubeprobe import vocabulary
from kubeprobe.catalog import CatalogCache
from kubeprobe.catalog.setup import Creatable
from kubeprobe.clock import utc_now
from kubeprobe.execution.leftovers import GRACE, LeftoverRepository, Swept, sweep
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.health.facts import leftover_health
from kubeprobe.store import Cluster, Leftover, Outcome, ProbeCase, ProbeTemplate, Store
from kubeprobe.views.leftovers import leftovers_of
from kubeprobe.vocabulary import Reason
from tests.harness.wait import until
from tests.local.execution.conftest import MakeEnvironment
from tests.local.execution.environment import NAMESPACE, Environment, LocalThread

RBAC = [
    {"resources": ["configmaps", "pods"], "verbs": ["create", "delete"]},
    {"scope": "cluster", "resources": ["namespaces"], "verbs": ["create"]},
    {"scope": "cluster", "apiGroups": ["nowhere.example"], "resources": ["things"], "verbs": ["create"]},
]
SPEC = {"image": "docker.io/kubeprobe/busybox:dev", "command": ["true"], "serviceAccountName": "x", "rbac": RBAC}


class Sweeping:
    """An environment with objects that probes have left."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.leftovers = LeftoverRepository(env.store, CatalogCache())
        common: dict[str, Any] = {"digest": "", "applied_at": utc_now()}
        with env.store.writing() as session:
            session.add(ProbeTemplate(name="maker", spec=SPEC, **common))
            session.add(ProbeCase(name="maker", spec={"template": "maker", "kind": "blackbox"}, **common))

    def leave(self, kind: str, name: str, run: str, **metadata: Any) -> dict[str, Any]:
        """Create an object as a probe does."""
        labels = {vocabulary.LABEL_INSTALLATION: self.env.installation, vocabulary.LABEL_RUN: run}
        collection = "/api/v1/namespaces" if kind == "namespaces" else f"/api/v1/namespaces/{NAMESPACE}/{kind}"
        body = {"metadata": {"name": name, "labels": labels | metadata.pop("labels", {}), **metadata}}
        made: dict[str, Any] = self.env.ask(lambda api: api.call("POST", collection, body=body))
        return made

    def names(self, kind: str = "configmaps") -> set[str]:
        """The names of the objects of a kind."""
        found = self.env.ask(lambda api: api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/{kind}"))
        return {item["metadata"]["name"] for item in found["items"]}

    def sweep(self, after: timedelta = GRACE) -> Swept:
        """One sweep, as if so long from now."""
        now = utc_now() + after
        with self.env.store.reading() as session:
            cluster = session.get_one(Cluster, "local")
        targets = self.leftovers.targets(cluster, now)

        async def recall(run_ids: Any) -> Any:
            return self.leftovers.get_run_states(run_ids)

        swept: Swept = self.env.ask(lambda api: sweep(Inventory(api), targets, self.env.installation, recall, now))
        self.leftovers.record(cluster, swept, now)
        return swept

    def noted(self) -> dict[str, Leftover]:
        """The recorded leftovers by name."""
        with self.env.store.reading() as session:
            return {row.name: row for row in session.exec(select(Leftover))}

    def over(self, case: str = "maker") -> str:
        """A run that has ended."""
        run = self.env.open(case=case)
        self.env.end(run, Reason.RUN_DEADLINE)
        return run


@pytest.fixture
def sweeping(store: Store, local: LocalThread, make_environment: MakeEnvironment) -> Iterator[Sweeping]:
    """On both databases."""
    made = Sweeping(make_environment(store, local))
    yield made
    for name in made.names():
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"
        made.env.ask(lambda api, path=path: api.merge_patch(path, {"metadata": {"finalizers": None}}, {}))
        made.env.ask(lambda api, path=path: _delete(api, path))


async def _delete(api: Any, path: str) -> None:
    try:
        await api.call("DELETE", path)
    except ClusterError as error:
        if error.cause is not Cause.NOT_FOUND:
            raise


def test_leftovers_of_an_ended_run_are_deleted_and_recorded_once(sweeping: Sweeping) -> None:
    run = sweeping.over()
    sweeping.leave("configmaps", "left", run)
    swept = sweeping.sweep()
    assert [(one.target.qualified, one.name, one.run_id) for one in swept.removed] == [
        ("configmaps", f"{NAMESPACE}/left", run)
    ]
    assert "left" not in sweeping.names()
    with sweeping.env.store.reading() as session:
        [kept] = leftovers_of(session, run)
        assert leftover_health(session, utc_now() + GRACE).removed == {"maker on local": 1}
    assert (kept.resource, kept.namespace, kept.name, kept.stuck) == ("configmaps", NAMESPACE, "left", "")

    again = sweeping.sweep(2 * GRACE)
    assert again.removed == []
    assert sweeping.noted()["left"].gone_at is not None


def test_objects_of_open_and_just_ended_runs_are_kept(sweeping: Sweeping) -> None:
    sweeping.leave("configmaps", "in-use", sweeping.env.open(case="maker"))
    sweeping.leave("configmaps", "just-ended", sweeping.over())
    assert sweeping.sweep(timedelta(seconds=5)).removed == []
    assert {"in-use", "just-ended"} <= sweeping.names()
    assert [one.name for one in sweeping.sweep().removed] == [f"{NAMESPACE}/just-ended"]


def test_probe_pods_and_objects_of_others_are_not_touched(sweeping: Sweeping) -> None:
    run = sweeping.over()
    sweeping.leave("configmaps", "of-another", run, labels={vocabulary.LABEL_INSTALLATION: "another"})
    sweeping.leave("configmaps", "a-probe-itself", run, labels={vocabulary.LABEL_CASE: "maker"})
    sweeping.leave("configmaps", "a-check", run, labels={"kubeprobe.io/check": "image"})
    sweeping.leave("configmaps", "nobody-s", run, labels={vocabulary.LABEL_INSTALLATION: ""})
    assert sweeping.sweep().removed == []


def test_objects_of_an_unknown_run_are_deleted_after_an_hour(sweeping: Sweeping) -> None:
    sweeping.over()  # so that its case's kinds are looked for
    sweeping.leave("configmaps", "tried-by-hand", "01unknown")
    assert sweeping.sweep(timedelta(minutes=50)).removed == []
    assert [one.run_id for one in sweeping.sweep(timedelta(minutes=65)).removed] == ["01unknown"]


def test_objects_deleted_with_their_owner_are_not_recorded(sweeping: Sweeping) -> None:
    run = sweeping.over()
    owner = sweeping.leave("configmaps", "owner", run)["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}
    sweeping.leave("configmaps", "owned", run, ownerReferences=[reference])
    assert [one.name for one in sweeping.sweep().removed] == [f"{NAMESPACE}/owner"]


def test_objects_with_finalizers_are_stuck_and_not_deleted_again(sweeping: Sweeping) -> None:
    run = sweeping.over()
    sweeping.leave("configmaps", "held", run, finalizers=["example.com/never"])
    assert len(sweeping.sweep().removed) == 1
    assert sweeping.sweep(timedelta(minutes=2)).removed == []
    late = sweeping.sweep(timedelta(minutes=20))
    assert (late.removed, [one.name for one, _ in late.stuck]) == ([], [f"{NAMESPACE}/held"])
    assert "finalizers example.com/never have blocked its deletion since" in sweeping.noted()["held"].stuck
    with sweeping.env.store.reading() as session:
        [stuck] = leftover_health(session, utc_now()).stuck
    assert stuck.startswith(f"configmaps {NAMESPACE}/held on local: finalizers")

    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/held"
    sweeping.env.ask(lambda api: api.merge_patch(path, {"metadata": {"finalizers": None}}, {}))
    sweeping.sweep(timedelta(minutes=21))
    assert sweeping.noted()["held"].gone_at is not None


def test_a_namespace_is_deleted_with_its_objects(sweeping: Sweeping) -> None:
    run = sweeping.over()
    name = f"left-{run[-10:]}"
    sweeping.leave("namespaces", name, run)
    labels = {vocabulary.LABEL_INSTALLATION: sweeping.env.installation, vocabulary.LABEL_RUN: run}
    inside = {"metadata": {"name": "inside", "labels": labels}}
    sweeping.env.ask(lambda api: api.call("POST", f"/api/v1/namespaces/{name}/configmaps", body=inside))
    assert [one.name for one in sweeping.sweep().removed] == [name]


def test_only_kinds_that_the_cases_may_create_are_listed(sweeping: Sweeping) -> None:
    sweeping.over()
    with sweeping.env.store.reading() as session:
        found = sweeping.leftovers.targets(session.get_one(Cluster, "local"), utc_now())
    assert found == [
        Creatable("", "configmaps", NAMESPACE),
        Creatable("", "namespaces"),
        Creatable("", "pods", NAMESPACE),
        Creatable("nowhere.example", "things"),
    ]
    assert sweeping.sweep().failed == {}  # a kind that the cluster does not know is no trouble


def test_a_missing_right_is_shown_by_doctor_and_stops_no_other_kind(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sweeping.over()
    sweeping.leave("configmaps", "left", run)
    monkeypatch.setattr(Inventory, "find", _forbidding("/namespaces", Inventory.find))
    assert [one.name for one in sweeping.sweep().removed] == [f"{NAMESPACE}/left"]
    with sweeping.env.store.reading() as session:
        assert leftover_health(session, utc_now()).not_allowed == {"local": "list namespaces"}
    monkeypatch.undo()
    sweeping.sweep()
    with sweeping.env.store.reading() as session:
        assert leftover_health(session, utc_now()).not_allowed == {}


def _forbidding(ending: str, ask: Callable[..., Any]) -> Callable[..., Any]:
    async def find(self: Inventory, collection: str, selector: str) -> Any:
        if collection.endswith(ending):
            raise ClusterError(Cause.FORBIDDEN, "no")
        return await ask(self, collection, selector)

    return find


def test_the_collector_sweeps_its_clusters(sweeping: Sweeping) -> None:
    env = sweeping.env
    env.settings = env.settings.model_copy(update={"sweep_every": timedelta(seconds=2)})
    run = sweeping.over()
    sweeping.leave("configmaps", "of-long-ago", run)
    with env.store.writing() as session:
        session.execute(update(Outcome).values(stored_at=utc_now() - 2 * GRACE))
    env.collect()
    until("the leftover to be removed", lambda: "of-long-ago" not in sweeping.names())
    until("it to be written down as gone", lambda: [row.name for row in sweeping.noted().values() if row.gone_at])
    assert env.find(Cluster, "local").swept_at is not None
