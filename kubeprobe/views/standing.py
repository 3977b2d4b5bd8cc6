"""The fleet at a glance: how every case stands on every cluster.

A verdict is shown for as long as it is news. Where a run is overdue nobody knows how the case stands by now, and the
cell says so (promise 6): a dead scheduler must not look like a healthy fleet.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, select, type_coerce
from sqlalchemy import case as sql_case
from sqlmodel import Session, col

from kubeprobe.fleet.selectors import Selector
from kubeprobe.store import Outcome, Run, RunState, Schedule, Standing
from kubeprobe.store.types import UTCDateTime
from kubeprobe.views.clusters import ClusterView, list_clusters
from kubeprobe.views.incidents import IncidentView, list_incidents

GRACE = timedelta(minutes=1)
"""How long a slot or a run may be overdue before what it would have told counts as not known."""

Place = tuple[str, str]
"""A case and a cluster."""


class Shown(StrEnum):
    """What a cell of the fleet table says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"
    STALE = "stale"
    """A newer run is overdue: the last verdict is old news."""
    NEVER = "never"
    """No run has ended yet."""
    CORDONED = "cordoned"


@dataclass(frozen=True)
class Cell:
    """How a case stands on a cluster. `verdict` is the last one known, `since` when it began."""

    case: str
    cluster: str
    shown: Shown
    verdict: str | None
    since: datetime | None
    fails: int
    unknowns: int
    run_id: str | None


@dataclass(frozen=True)
class Fleet:
    """All cells, the clusters they are on, the incidents that are open there."""

    clusters: tuple[ClusterView, ...]
    cells: tuple[Cell, ...]
    """By case, then cluster; only where a case is due or has run."""
    incidents: tuple[IncidentView, ...]
    unanswered: int
    """Outcomes that no responder has folded into this yet, though they have waited for long."""

    @property
    def counts(self) -> dict[Shown, int]:
        """How many cells say what."""
        found = Counter(cell.shown for cell in self.cells)
        return {shown: found[shown] for shown in Shown}


def fleet(session: Session, now: datetime, selector: Selector | None = None) -> Fleet:
    """How every case stands on the clusters whose labels match (default: all). Seven statements."""
    clusters = list_clusters(session, now, selector)
    cordoned = {cluster.name for cluster in clusters if cluster.cordoned_at is not None}
    chosen = {cluster.name for cluster in clusters}
    standings = {(row[0], row[1]): row for row in session.execute(_standings())}
    due = {(case, cluster): next_due for case, cluster, next_due in session.execute(_schedules())}
    late = _late(due, session, now)
    cells = [
        _cell(place, standings.get(place), is_late=place in late, is_cordoned=place[1] in cordoned)
        for place in sorted(standings.keys() | due.keys())
        if place[1] in chosen
    ]
    waiting = select(func.count()).where(col(Outcome.responded_at).is_(None), col(Outcome.stored_at) < now - GRACE)
    return Fleet(
        clusters=tuple(clusters),
        cells=tuple(cells),
        incidents=tuple(list_incidents(session, chosen)),
        unanswered=session.execute(waiting).scalar_one(),
    )


def _standings() -> Select[Any]:
    row = Standing
    return select(row.case, row.cluster, row.verdict, row.since, row.fails, row.unknowns, row.run_id)  # type: ignore[call-overload,no-any-return]


def _schedules() -> Select[Any]:
    """Where something is due periodically, and when next; None where all of it is paused."""
    earliest = func.min(sql_case((col(Schedule.paused_at).is_(None), col(Schedule.next_due))))
    place = (col(Schedule.case), col(Schedule.cluster))
    return select(*place, type_coerce(earliest, UTCDateTime)).group_by(*place)  # type: ignore[return-value]


def _late(due: Mapping[Place, datetime | None], session: Session, now: datetime) -> set[Place]:
    """Where a slot was not issued in time, or a run has no outcome long after its time was up."""
    runs = select(col(Run.case), col(Run.cluster)).where(
        col(Run.state) != RunState.DONE, col(Run.expires_at) < now - GRACE
    )
    overdue = {(case, cluster) for case, cluster in session.execute(runs)}
    return overdue | {place for place, next_due in due.items() if next_due is not None and next_due < now - GRACE}


def _cell(place: Place, standing: Any, *, is_late: bool, is_cordoned: bool) -> Cell:
    if standing is None:
        shown = Shown.CORDONED if is_cordoned else Shown.STALE if is_late else Shown.NEVER
        return Cell(*place, shown, None, None, 0, 0, None)
    shown = Shown.CORDONED if is_cordoned else Shown.STALE if is_late else Shown(standing.verdict)
    return Cell(*place, shown, standing.verdict, standing.since, standing.fails, standing.unknowns, standing.run_id)
