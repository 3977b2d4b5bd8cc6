"""Runs, entries of the catalog and pods that cannot be read or stored stop no other of a batch."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

from kubeprobe import vocabulary
from kubeprobe.catalog.version import increment_version
from kubeprobe.execution import launch as launching
from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.runs import Claim, claim
from kubeprobe.store import Binding, Cluster, ProbeCase, ProbeTemplate, RenderConfig, Run
from kubeprobe.vocabulary import Reason, RunState, Verdict
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import ExecutionWorld
from tests.services.execution.launch.given import RUN, ids, launch
from tests.services.trigger.given import CASE


def test_a_run_whose_case_was_removed_is_unknown_and_the_rest_of_its_batch_runs(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    with world.store.writing() as session:
        session.add(
            ProbeCase(name="other", spec={"template": "gone", "kind": "blackbox"}, digest="", applied_at=world.noon)
        )
        increment_version(session)
    world.run(RUN, case="removed", cluster="there")
    world.run("02hrun", case="other", cluster="there")
    assert launch(launcher, world, RUN, "02hrun", "03hrun")
    assert world.verdicts == dict.fromkeys((RUN, "02hrun"), (Verdict.UNKNOWN, Reason.CASE_REMOVED))
    assert world.states()["03hrun"] == RunState.RUNNING


@pytest.mark.parametrize("kind", [ProbeCase, ProbeTemplate, RenderConfig])
def test_a_run_of_an_unreadable_entry_is_unknown_and_the_rest_of_its_batch_runs(
    world: ExecutionWorld, launcher: Launcher, kind: type[ProbeCase | ProbeTemplate | RenderConfig]
) -> None:
    specs = {
        ProbeTemplate: {"image": "docker.io/kubeprobe/busybox:dev"},
        ProbeCase: {"template": "newer", "kind": "blackbox"},
        RenderConfig: {"for": "newer", "values": {"A": "b"}},
    }
    with world.store.writing() as session:
        for table, spec in specs.items():
            stored = spec | {"newer": 1} if table is kind else spec
            session.add(table(name="newer", spec=stored, digest="", applied_at=world.noon))
        increment_version(session)
    world.run(RUN, case="newer", cluster="there")
    assert launch(launcher, world, RUN, "03hrun")
    [outcome] = world.outcomes
    assert (outcome.run_id, outcome.verdict, outcome.reason) == (RUN, Verdict.UNKNOWN, Reason.NOT_LAUNCHED)
    assert (
        f"the stored {kind.__name__} 'newer' is invalid in this version of KubeProbe at spec.newer" in outcome.message
    )
    assert "kubeprobe apply" in outcome.message
    assert world.states()["03hrun"] == RunState.RUNNING


def test_a_run_of_an_unreadable_binding_gets_its_pod(world: ExecutionWorld, launcher: Launcher) -> None:
    with world.store.writing() as session:
        session.add(Binding(name="all", spec={"cases": [CASE], "newer": 1}, digest="", applied_at=world.noon))
        increment_version(session)
    world.run(RUN, cluster="there", binding="all", expires_at=world.noon + timedelta(minutes=10))
    launch(launcher, world)
    assert world.states() == {RUN: RunState.RUNNING}


def test_a_run_whose_row_cannot_be_read_stops_no_other_of_its_batch(
    world: ExecutionWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ids(4)
    if world.store.engine.dialect.name == "sqlite":  # PostgreSQL accepts JSON only
        world.run(*batch, cluster="there")
        with world.store.writing() as session:
            cut = f"UPDATE run SET parameters = '{{\"cut' WHERE id = '{batch[1]}'"
            session.connection().exec_driver_sql(cut)
    else:

        def read(session: Session, cluster: Cluster, run_ids: Sequence[str], *more: Any) -> Claim:
            if batch[1] in run_ids:
                raise ValueError("a column that cannot be read")
            return claim(session, cluster, run_ids, *more)

        monkeypatch.setattr(launching, "claim", read)
    launch(launcher, world, *batch)
    assert world.verdicts == {batch[1]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)}
    with world.store.reading() as session:
        states = dict(session.exec(select(col(Run.id), col(Run.state)).where(col(Run.id) != batch[1])).all())
    assert set(states.values()) == {RunState.RUNNING}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL refuses such a value
@pytest.mark.parametrize("column", ["due_at", "opened_at", "created_at"])
def test_a_run_with_an_invalid_time_is_closed_and_stops_no_other(
    world: ExecutionWorld, launcher: Launcher, column: str
) -> None:
    batch = ids(3)
    world.run(*batch, cluster="there")
    with world.store.writing() as session:
        session.connection().exec_driver_sql(f"UPDATE run SET {column} = 'soon' WHERE id = '{batch[1]}'")
    launch(launcher, world, *batch)
    assert world.verdicts == {batch[1]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)}
    assert world.states() == {batch[0]: RunState.RUNNING, batch[1]: RunState.DONE, batch[2]: RunState.RUNNING}


def test_a_pod_that_cannot_be_stored_stops_no_other_of_its_batch(
    world: ExecutionWorld, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, create = ids(4), ClusterApi.create_pod

    async def odd(self: ClusterApi, namespace: str, pod: dict[str, Any]) -> dict[str, Any]:
        found = await create(self, namespace, pod)
        if found["metadata"]["labels"][vocabulary.LABEL_RUN] == batch[1]:
            found["metadata"]["uid"] += "\0"  # PostgreSQL does not store it
        if found["metadata"]["labels"][vocabulary.LABEL_RUN] == batch[2]:
            del found["metadata"]["uid"]
        return found

    monkeypatch.setattr(ClusterApi, "create_pod", odd)
    launch(launcher, world, *batch)
    states = [world.states()[run_id] for run_id in batch]
    is_stored = world.store.engine.dialect.name == "sqlite"
    odd_state = RunState.RUNNING if is_stored else RunState.DONE
    assert states == [RunState.RUNNING, odd_state, RunState.PENDING, RunState.RUNNING]
    assert world.verdicts == ({} if is_stored else {batch[1]: (Verdict.UNKNOWN, Reason.NOT_LAUNCHED)})
    assert world.find(batch[2]).setback == Reason.NOT_LAUNCHED
