"""Folding an outcome into the standing of its case on its cluster: pure, and the only place where alarms are decided.

A fail counts towards `alert_after`, an unknown towards `unknown_after`; each opens an alert of its own kind.

- A pass is proven recovery: it closes both kinds. A fail is a definite verdict: it closes the unknown kind.
- An unknown is neither: it adds nothing to the consecutive fails and takes nothing away.
- An outcome that was due before the newest one folded comes too late to change anything; so does the same again.
- `Missed` counts as one unknown however many slots it stands for: KubeProbe was away once, and the catch-up run
  that follows tells more. Runs that by decision never took place (`runs.NO_ANSWER`) count as nothing.
- Whether to open is asked of the counters each time, not only when they cross the line: a lowered `alertAfter`
  or the end of a maintenance takes effect with the next outcome.

Next: `respond` writes what came of it.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kubeprobe.response.outcomes import ClaimedOutcome
from kubeprobe.vocabulary import AlertKind, Verdict


class Event(StrEnum):
    """What happens to an alert, and is told once each."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Policy:
    """When a case raises an alarm. `muted`: its cluster is cordoned or gone; nothing opens, recovery still closes."""

    alert_after: int = 1
    unknown_after: int = 3
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How a case stands on a cluster. `open` are the kinds of its open alerts."""

    verdict: str
    since: datetime
    fails: int
    unknowns: int
    due_at: datetime
    run_id: str
    open: frozenset[AlertKind] = frozenset()

    @property
    def at_rest(self) -> bool:
        """Passing, with nothing counted: another pass changes nothing worth writing."""
        return self.verdict == Verdict.PASS and not (self.fails or self.unknowns or self.open)


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert of a kind opens or closes."""

    kind: AlertKind
    event: Event


def fold(
    standing: Standing | None, outcome: ClaimedOutcome, policy: Policy
) -> tuple[Standing | None, tuple[Transition, ...]]:
    """The standing after an outcome, and which alerts open and close by it."""
    if not outcome.answers or (standing and _comes_too_late(standing, outcome)):
        return standing, ()
    counted = _count(standing, outcome)
    closing, opening = _closing(counted), _opening(counted, policy)
    transitions = (
        *(Transition(kind, Event.CLOSED) for kind in sorted(closing)),
        *(Transition(kind, Event.OPENED) for kind in sorted(opening)),
    )
    return replace(counted, open=counted.open - closing | opening), transitions


def _comes_too_late(standing: Standing, outcome: ClaimedOutcome) -> bool:
    return outcome.run_id == standing.run_id or outcome.due_at < standing.due_at


def _count(standing: Standing | None, outcome: ClaimedOutcome) -> Standing:
    fails, unknowns = (standing.fails, standing.unknowns) if standing else (0, 0)
    same = standing is not None and standing.verdict == outcome.verdict
    match outcome.verdict:
        case Verdict.PASS:
            fails, unknowns = 0, 0
        case Verdict.FAIL:
            fails, unknowns = fails + 1, 0
        case _:
            unknowns += 1
    return Standing(
        verdict=outcome.verdict,
        since=standing.since if standing and same else outcome.due_at,
        fails=fails,
        unknowns=unknowns,
        due_at=outcome.due_at,
        run_id=outcome.run_id,
        open=standing.open if standing else frozenset(),
    )


def _closing(standing: Standing) -> frozenset[AlertKind]:
    match standing.verdict:
        case Verdict.PASS:
            return standing.open
        case Verdict.FAIL:
            return standing.open & {AlertKind.UNKNOWN}
        case _:
            return frozenset()


def _opening(standing: Standing, policy: Policy) -> frozenset[AlertKind]:
    if policy.muted:
        return frozenset()
    match standing.verdict:
        case Verdict.FAIL if standing.fails >= policy.alert_after:
            return frozenset({AlertKind.FAIL}) - standing.open
        case Verdict.UNKNOWN if standing.unknowns >= policy.unknown_after:
            return frozenset({AlertKind.UNKNOWN}) - standing.open
        case _:
            return frozenset()
