"""Outcomes folded into standings and alerts."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeprobe.response.fold import AlertEvent, AlertPolicy, StandingState, Transition, fold
from kubeprobe.response.outcomes import UNCOUNTED, ClaimedOutcome
from kubeprobe.vocabulary import AlertKind, Reason, Verdict
from tests.unit.response.given import NOON, outcome

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
FAIL_OPENS = Transition(AlertKind.FAIL, AlertEvent.OPENED)
FAIL_CLOSES = Transition(AlertKind.FAIL, AlertEvent.CLOSED)
UNKNOWN_OPENS = Transition(AlertKind.UNKNOWN, AlertEvent.OPENED)
UNKNOWN_CLOSES = Transition(AlertKind.UNKNOWN, AlertEvent.CLOSED)
DEFAULT = AlertPolicy()


def fold_all(
    outcomes: list[ClaimedOutcome], policy: AlertPolicy = DEFAULT
) -> tuple[StandingState | None, list[tuple[Transition, ...]]]:
    standing: StandingState | None = None
    history = []
    for one in outcomes:
        standing, transitions = fold(standing, one, policy)
        history.append(transitions)
    return standing, history


@pytest.mark.parametrize(
    ("verdicts", "policy", "expected"),
    [
        pytest.param([P, P], AlertPolicy(), [(), ()], id="a pass opens no alert"),
        pytest.param([F], AlertPolicy(), [(FAIL_OPENS,)], id="the first outcome of all may be a fail"),
        pytest.param([P, F, F], AlertPolicy(), [(), (FAIL_OPENS,), ()], id="a fail opens once"),
        pytest.param([F, P, F], AlertPolicy(), [(FAIL_OPENS,), (FAIL_CLOSES,), (FAIL_OPENS,)], id="a pass closes"),
        pytest.param([F, F, F], AlertPolicy(alert_after=3), [(), (), (FAIL_OPENS,)], id="alertAfter fails open"),
        pytest.param([F, F, P, F], AlertPolicy(alert_after=3), [(), (), (), ()], id="a pass resets the fails"),
        pytest.param(
            [F, U, F], AlertPolicy(alert_after=2), [(), (), (FAIL_OPENS,)], id="an unknown does not reset fails"
        ),
        pytest.param([F, U, U], AlertPolicy(alert_after=2), [(), (), ()], id="an unknown does not count as a fail"),
        pytest.param([F, U, P], AlertPolicy(), [(FAIL_OPENS,), (), (FAIL_CLOSES,)], id="an unknown is not a recovery"),
        pytest.param([U, U, U], AlertPolicy(), [(), (), (UNKNOWN_OPENS,)], id="unknownAfter unknowns open"),
        pytest.param([U, F, U, U], AlertPolicy(alert_after=9), [(), (), (), ()], id="a fail resets the unknowns"),
        pytest.param(
            [U, P],
            AlertPolicy(unknown_after=1),
            [(UNKNOWN_OPENS,), (UNKNOWN_CLOSES,)],
            id="a pass closes unknown",
        ),
        pytest.param(
            [U, F],
            AlertPolicy(unknown_after=1),
            [(UNKNOWN_OPENS,), (UNKNOWN_CLOSES, FAIL_OPENS)],
            id="a fail closes the unknown alert and opens its own",
        ),
        pytest.param(
            [F, U, P],
            AlertPolicy(unknown_after=1),
            [(FAIL_OPENS,), (UNKNOWN_OPENS,), (FAIL_CLOSES, UNKNOWN_CLOSES)],
            id="a pass closes both kinds",
        ),
        pytest.param([F, F], AlertPolicy(muted=True), [(), ()], id="muted: no alert for fails"),
        pytest.param([U, U, U, U], AlertPolicy(muted=True), [(), (), (), ()], id="muted: no alert for unknowns"),
    ],
)
def test_alerts_open_and_close_by_verdicts(
    verdicts: list[Verdict], policy: AlertPolicy, expected: list[tuple[Transition, ...]]
) -> None:
    _, history = fold_all([outcome(verdict, minute) for minute, verdict in enumerate(verdicts)], policy)
    assert history == expected


def test_a_standing_has_the_start_and_the_counts_of_its_verdict() -> None:
    standing, _ = fold_all([outcome(P, 0), outcome(F, 1), outcome(F, 2), outcome(U, 3), outcome(F, 4)])
    assert standing == StandingState(
        verdict=F,
        since=outcome(F, 4).due_at,
        fails=3,
        unknowns=0,
        due_at=outcome(F, 4).due_at,
        run_id="run-4",
        open=frozenset({AlertKind.FAIL}),
    )


def test_an_outcome_that_was_due_before_the_newest_folded_changes_nothing() -> None:
    standing, _ = fold_all([outcome(P, 5)])
    assert fold(standing, outcome(F, 4), AlertPolicy()) == (standing, ())


def test_two_runs_due_at_the_same_instant_both_count() -> None:
    standing, _ = fold_all([outcome(P, 5, run="a")])
    assert fold(standing, outcome(F, 5, run="b"), AlertPolicy())[1] == (FAIL_OPENS,)


def test_missed_slots_count_as_one_unknown() -> None:
    standing, history = fold_all([outcome(P, 0), outcome(U, 60, reason=Reason.MISSED)])
    assert standing is not None
    assert (standing.unknowns, history[1]) == (1, ())


@pytest.mark.parametrize("reason", sorted(UNCOUNTED))
def test_a_run_that_by_decision_never_took_place_is_not_counted(reason: Reason) -> None:
    standing, _ = fold_all([outcome(F, 0)])
    assert fold(standing, outcome(U, 1, reason=reason), AlertPolicy(unknown_after=1)) == (standing, ())
    assert fold(None, outcome(U, 1, reason=reason), AlertPolicy()) == (None, ())


def test_a_slot_skipped_for_a_long_run_does_not_make_that_run_late() -> None:
    standing, _ = fold_all([outcome(P, 0), outcome(U, 2, reason=Reason.STILL_RUNNING)])
    assert fold(standing, outcome(F, 1), AlertPolicy())[1] == (FAIL_OPENS,)


def test_a_lowered_alert_after_takes_effect_with_the_next_fail() -> None:
    standing, _ = fold_all([outcome(F, 0), outcome(F, 1)], AlertPolicy(alert_after=5))
    assert fold(standing, outcome(F, 2), AlertPolicy(alert_after=2))[1] == (FAIL_OPENS,)


def test_the_first_fail_after_a_maintenance_opens_an_alert() -> None:
    standing, _ = fold_all([outcome(F, 0), outcome(F, 1)], AlertPolicy(muted=True))
    assert fold(standing, outcome(F, 2), AlertPolicy())[1] == (FAIL_OPENS,)


def test_recovery_closes_the_alert_during_a_maintenance_too() -> None:
    standing, _ = fold_all([outcome(F, 0)])
    assert fold(standing, outcome(P, 1), AlertPolicy(muted=True))[1] == (FAIL_CLOSES,)


outcomes = st.lists(
    st.builds(
        outcome,
        verdict=st.sampled_from([P, F, U]),
        minute=st.integers(0, 30),
        run=st.integers(0, 40).map("run-{}".format),
        reason=st.sampled_from([Reason.REPORTED_FAILURE, Reason.MISSED, Reason.STILL_RUNNING]),
    ),
    max_size=40,
)
policies = st.builds(AlertPolicy, alert_after=st.integers(1, 4), unknown_after=st.integers(1, 4), muted=st.booleans())


@given(outcomes, st.data())
def test_at_most_one_alert_of_a_kind_is_open_and_only_a_definite_verdict_closes(
    given_outcomes: list[ClaimedOutcome], data: st.DataObject
) -> None:
    standing: StandingState | None = None
    opened: set[AlertKind] = set()
    for one in given_outcomes:
        standing, transitions = fold(standing, one, data.draw(policies))
        for transition in transitions:
            if transition.event is AlertEvent.OPENED:
                assert transition.kind not in opened
                assert one.verdict == transition.kind
                opened.add(transition.kind)
            else:
                assert one.verdict == P or (one.verdict == F and transition.kind is AlertKind.UNKNOWN)
                opened.remove(transition.kind)
        assert (standing.open if standing else frozenset()) == opened
        if transitions and one.verdict == P:
            assert not opened


@given(outcomes, policies)
def test_a_final_pass_leaves_no_alert_open(given_outcomes: list[ClaimedOutcome], policy: AlertPolicy) -> None:
    standing, _ = fold_all([*given_outcomes, outcome(P, 99)], policy)
    assert standing is not None
    assert standing.is_steady_pass


@given(outcomes, policies)
def test_a_repeated_outcome_changes_nothing(given_outcomes: list[ClaimedOutcome], policy: AlertPolicy) -> None:
    once, first = fold_all(given_outcomes, policy)
    standing: StandingState | None = None
    for one, transitions in zip(given_outcomes, first, strict=True):
        standing, again = fold(standing, one, policy)
        assert again == transitions
        assert fold(standing, one, policy) == (standing, ())
    assert standing == once


@given(outcomes, policies)
@settings(max_examples=50)
def test_the_due_time_never_decreases(given_outcomes: list[ClaimedOutcome], policy: AlertPolicy) -> None:
    standing: StandingState | None = None
    newest = NOON
    for one in given_outcomes:
        standing, _ = fold(standing, one, policy)
        if standing is not None:
            assert standing.due_at >= newest
            assert standing.since <= standing.due_at
            newest = standing.due_at


def test_a_steady_pass_stays_one_after_a_pass() -> None:
    standing, _ = fold_all([outcome(F, 0), outcome(P, 1)])
    assert standing is not None
    after, transitions = fold(standing, outcome(P, 2), AlertPolicy())
    assert after == replace(standing, due_at=outcome(P, 2).due_at, run_id="run-2")
    assert (standing.is_steady_pass, transitions) == (True, ())
