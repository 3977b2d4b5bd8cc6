"""Lists of runs, and the details of one run."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import event

from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.store import Change, Run, RunLog
from kubeprobe.views import (
    RunFilter,
    RunView,
    get_run,
    kept_log,
    list_runs,
    outcomes_since,
    resolve_run_id,
    runs_by_id,
    wait_for_outcomes,
)
from kubeprobe.vocabulary import Reason, Verdict
from tests.services.views.given import World

SECOND = timedelta(seconds=1)


def listed(world: World, limit: int = 20, **wanted: object) -> list[str]:
    with world.store.reading() as session:
        return [run.id for run in list_runs(session, RunFilter(**wanted), limit).items]


def test_the_newest_run_comes_first(world: World) -> None:
    older = world.run(at=world.now)
    newer = world.run(at=world.now + SECOND)
    assert listed(world) == [newer, older]
    assert listed(world, limit=1) == [newer]


def test_filters_are_combined_with_and(world: World) -> None:
    mine = world.run(Verdict.FAIL, case="dns", cluster="prod-1", binding="core")
    world.run(Verdict.PASS, case="dns", cluster="prod-1", binding="core")
    world.run(Verdict.FAIL, case="dns", cluster="prod-2", binding="core")
    world.run(Verdict.FAIL, case="pods", cluster="prod-1", binding="core")
    world.run(Verdict.FAIL, case="dns", cluster="prod-1")
    assert listed(world, case="dns", cluster="prod-1", verdict="fail", binding="core") == [mine]
    assert len(listed(world, trigger="manual")) == 1


def test_since_compares_with_the_time_a_run_was_opened(world: World) -> None:
    world.run(at=world.now - timedelta(hours=2))
    recent = world.run(at=world.now - timedelta(minutes=30))
    assert listed(world, since=world.now - timedelta(hours=1)) == [recent]


def test_a_run_without_outcome_has_no_verdict(world: World) -> None:
    world.opened()
    with world.store.reading() as session:
        (run,) = list_runs(session, RunFilter()).items
    assert (run.state, run.verdict, run.stored_at) == ("pending", None, None)


def test_outcomes_are_followed_in_the_order_they_were_stored(world: World) -> None:
    slow, quick = world.opened(), world.opened()
    world.ended(quick, at=world.now + SECOND)
    world.ended(slow, at=world.now + 5 * SECOND)
    with world.store.reading() as session:
        assert [run.id for run in outcomes_since(session, RunFilter(), world.now)] == [quick, slow]
        assert [run.id for run in outcomes_since(session, RunFilter(), world.now + 2 * SECOND)] == [slow]


def test_an_id_prefix_names_a_run(world: World) -> None:
    older = world.run(at=world.now - timedelta(days=300))
    newer = world.run(at=world.now)
    with world.store.reading() as session:
        assert resolve_run_id(session, older[:8]) == older
        assert resolve_run_id(session, newer.upper()) == newer


def test_an_ambiguous_id_prefix_lists_the_matching_ids(world: World) -> None:
    first, second = world.run(), world.run()
    with world.store.reading() as session, pytest.raises(InvalidInputError) as error:
        resolve_run_id(session, first[:6])
    assert first in str(error.value)
    assert second in str(error.value)


@pytest.mark.parametrize("given", ["zzzz", "0" * 26])
def test_an_unknown_run_id_is_not_found(world: World, given: str) -> None:
    world.run()
    with world.store.reading() as session, pytest.raises(NotFoundError, match="kubeprobe runs"):
        resolve_run_id(session, given)


@pytest.mark.parametrize("given", ["", "../x", "%", "a" * 27])
def test_an_invalid_run_id_is_refused(world: World, given: str) -> None:
    with world.store.reading() as session, pytest.raises(InvalidInputError, match="not a run id"):
        resolve_run_id(session, given)


def test_the_stages_of_a_run_have_durations(world: World) -> None:
    run_id = world.opened()
    with world.store.writing() as session:
        run = session.get_one(Run, run_id)
        run.claimed_at = world.now + SECOND
        run.created_at = world.now + 0.5 * SECOND  # Kubernetes rounds to whole seconds
    world.ended(run_id, at=world.now + 10 * SECOND)
    with world.store.reading() as session:
        stages = {stage.name: stage.after_s for stage in get_run(session, run_id).stages}
    assert stages == {
        "due": None,
        "opened": 0.0,
        "claimed": 1.0,
        "pod created": 0.0,
        "started": 7.5,
        "finished": 2.0,
        "stored": 0.0,
    }


def test_a_waiting_run_says_why_it_waits(world: World) -> None:
    run_id = world.opened(binding="core")

    def why(**columns: object) -> str:
        with world.store.writing() as session:
            session.get_one(Run, run_id).sqlmodel_update(columns)
        with world.store.reading() as session:
            return get_run(session, run_id).why

    assert why() == "due by binding core; waits for a launcher"
    assert "cap on pods" in why(held=True)
    assert "ClusterUnreachable: no route" in why(setback=Reason.CLUSTER_UNREACHABLE, setback_message="no route")
    assert why(state="running").endswith("its pod exists")


def test_a_run_from_a_change_names_the_change(world: World) -> None:
    run_id = world.opened(binding="core")
    with world.store.writing() as session:
        session.add(Change(id="c1", component="coredns", version="1.12", happened_at=world.now))
        session.get_one(Run, run_id).change_id = "c1"
    with world.store.reading() as session:
        assert get_run(session, run_id).why.startswith("binding core runs it when coredns 1.12 changes")


def test_a_stored_log_is_found(world: World) -> None:
    run_id, other = world.run(Verdict.FAIL), world.run()
    with world.store.writing() as session:
        session.add(RunLog(run_id=run_id, tail="last words\n", stored_at=world.now))
    with world.store.reading() as session:
        found = kept_log(session, run_id)
        assert found is not None
        assert found.tail == "last words\n"
        assert kept_log(session, other) is None
        assert (get_run(session, run_id).has_log, get_run(session, other).has_log) == (True, False)


def query_of(world: World) -> Callable[[Sequence[str]], list[RunView]]:
    def query(run_ids: Sequence[str]) -> list[RunView]:
        with world.store.reading() as session:
            return runs_by_id(session, run_ids)

    return query


def test_waiting_polls_until_every_run_has_ended(world: World) -> None:
    first, second = world.opened(cluster="a"), world.opened(cluster="b")
    pauses: list[int] = []
    seen: list[list[str | None]] = []

    def sleep(_: float) -> None:
        pauses.append(1)
        world.ended([first, second][len(pauses) - 1], Verdict.FAIL)

    statements: list[str] = []
    event.listen(world.store.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    runs = wait_for_outcomes(
        query_of(world),
        [first, second],
        timeout_s=60,
        on_progress=lambda found: seen.append([run.verdict for run in found]),
        sleep=sleep,
    )
    assert [run.verdict for run in runs] == ["fail", "fail"]
    assert seen == [[None, None], ["fail", None], ["fail", "fail"]]
    queries = [text for text in statements if text.startswith("SELECT run.id")]
    assert len(queries) == 3


def test_waiting_ends_at_its_timeout(world: World) -> None:
    run_id = world.opened()
    (run,) = wait_for_outcomes(query_of(world), [run_id], timeout_s=0)
    assert run.verdict is None


def test_runs_by_id_are_sorted_by_cluster(world: World) -> None:
    ids = [world.run(cluster=name) for name in ("c", "a", "b")]
    with world.store.reading() as session:
        assert [run.cluster for run in runs_by_id(session, ids)] == ["a", "b", "c"]
