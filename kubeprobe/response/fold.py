"""Folds an outcome into the standing of its case on its subject. Pure; the only module that decides about alerts.

A fail counts towards `alert_after`, an unknown towards `unknown_after`; each opens an alert of its own kind.

- A pass is proven recovery: it closes both kinds. A fail is a definite verdict: it closes the unknown kind.
- An unknown neither adds to the consecutive fails nor resets them.
- An outcome that was due before the newest folded one changes nothing; neither does the same outcome a second time.
- `Missed` counts as one unknown for any number of slots: it is one interruption of KubeProbe, and the catch-up run
  that follows gives a verdict. Runs that by decision never took place (`runs.UNCOUNTED`) are not counted.
- Counters are compared with the policy at every outcome, not only when they reach a threshold: a lowered `alertAfter`
  or the end of a maintenance takes effect with the next outcome.

Next: `respond` writes the result.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kubeprobe.response.outcomes import ClaimedOutcome
from kubeprobe.vocabulary import AlertKind, Verdict


class AlertEvent(StrEnum):
    """What happens to an alert; people are notified of each once."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When alerts of a case open. `muted`: its cluster is cordoned or removed; none opens, recovery still closes."""

    alert_after: int = 1
    unknown_after: int = 3
    muted: bool = False


@dataclass(frozen=True, slots=True)
class StandingState:
    """A standing while outcomes are folded into it. `open`: the kinds of its open alerts."""

    verdict: str
    since: datetime
    fails: int
    unknowns: int
    due_at: datetime
    run_id: str
    open: frozenset[AlertKind] = frozenset()

    @property
    def is_steady_pass(self) -> bool:
        """Passing, with all counters at zero: another pass need not be written."""
        return self.verdict == Verdict.PASS and not (self.fails or self.unknowns or self.open)


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert of a kind opens or closes."""

    kind: AlertKind
    event: AlertEvent


def fold(
    standing: StandingState | None, outcome: ClaimedOutcome, policy: AlertPolicy
) -> tuple[StandingState | None, tuple[Transition, ...]]:
    """The standing after an outcome, and the alerts that it opens and closes."""
    if not outcome.is_counted or (standing and _is_too_late(standing, outcome)):
        return standing, ()
    counted = _count(standing, outcome)
    closing, opening = _closing(counted), _opening(counted, policy)
    transitions = (
        *(Transition(kind, AlertEvent.CLOSED) for kind in sorted(closing)),
        *(Transition(kind, AlertEvent.OPENED) for kind in sorted(opening)),
    )
    return replace(counted, open=counted.open - closing | opening), transitions


def _is_too_late(standing: StandingState, outcome: ClaimedOutcome) -> bool:
    return outcome.run_id == standing.run_id or outcome.due_at < standing.due_at


def _count(standing: StandingState | None, outcome: ClaimedOutcome) -> StandingState:
    fails, unknowns = (standing.fails, standing.unknowns) if standing else (0, 0)
    same = standing is not None and standing.verdict == outcome.verdict
    match outcome.verdict:
        case Verdict.PASS:
            fails, unknowns = 0, 0
        case Verdict.FAIL:
            fails, unknowns = fails + 1, 0
        case _:
            unknowns += 1
    return StandingState(
        verdict=outcome.verdict,
        since=standing.since if standing and same else outcome.due_at,
        fails=fails,
        unknowns=unknowns,
        due_at=outcome.due_at,
        run_id=outcome.run_id,
        open=standing.open if standing else frozenset(),
    )


def _closing(standing: StandingState) -> frozenset[AlertKind]:
    match standing.verdict:
        case Verdict.PASS:
            return standing.open
        case Verdict.FAIL:
            return standing.open & {AlertKind.UNKNOWN}
        case _:
            return frozenset()


def _opening(standing: StandingState, policy: AlertPolicy) -> frozenset[AlertKind]:
    if policy.muted:
        return frozenset()
    match standing.verdict:
        case Verdict.FAIL if standing.fails >= policy.alert_after:
            return frozenset({AlertKind.FAIL}) - standing.open
        case Verdict.UNKNOWN if standing.unknowns >= policy.unknown_after:
            return frozenset({AlertKind.UNKNOWN}) - standing.open
        case _:
            return frozenset()
