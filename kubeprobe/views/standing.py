"""The fleet at a glance: the standing of every case on every cluster.

A verdict is shown until a newer run is overdue: then the present standing is not known, and the cell shows that
(promise 6). A dead scheduler must not resemble a healthy fleet.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import computed_field
from sqlalchemy import ColumnElement, Select, func, not_, select, tuple_, type_coerce
from sqlalchemy import case as sql_case
from sqlmodel import Session, col

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.selectors import Selector
from kubeprobe.jsonmodel import JsonModel, Page
from kubeprobe.store import Cluster, Node, Outcome, Run, Schedule, Standing, is_open, is_unprocessed
from kubeprobe.store.types import UTCDateTime
from kubeprobe.views.alerts import AlertFilter, AlertView, count_alerts, list_alerts
from kubeprobe.views.clusters import ClusterView, list_clusters
from kubeprobe.vocabulary import SOME_NODE, Subject, Verdict

GRACE = timedelta(minutes=1)
"""How long a slot or a run may be overdue before the standing counts as not known."""

CellKey = tuple[str, str]
"""A case and a cluster."""
_OF_NODE = "node"


class Shown(StrEnum):
    """What a cell of the fleet table shows."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"
    STALE = "stale"
    """A newer run is overdue: the last verdict is outdated."""
    NEVER = "never"
    """No run has ended yet."""
    CORDONED = "cordoned"


@dataclass(frozen=True)
class Cell(JsonModel):
    """How a case stands on a cluster. `verdict` is the last one known, `since` when it began."""

    case: str
    cluster: str
    shown: Shown
    verdict: str | None
    since: datetime | None
    fails: int
    unknowns: int
    run_id: str | None
    nodes: Mapping[str, int] | None = None
    """Where the case has verdicts of nodes: how many nodes have which. The cell itself shows the worst."""


@dataclass(frozen=True)
class NodeCell(JsonModel):
    """How a case stands on one node. `verdict` is the last one known, `since` when it began."""

    case: str
    cluster: str
    node: str
    shown: Shown
    verdict: str
    since: datetime
    fails: int
    unknowns: int
    run_id: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def subject(self) -> str:
        """The node, as `prod-1/node-7`."""
        return str(Subject(self.cluster, self.node))


@dataclass(frozen=True)
class FleetStatus(JsonModel):
    """All cells, the clusters they are on, and the newest alerts that are open there."""

    clusters: tuple[ClusterView, ...]
    cells: tuple[Cell, ...]
    """By case, then cluster; only where a case is due or has run."""
    alerts: tuple[AlertView, ...]
    open_alerts: int
    """How many there are, with those that are not among `alerts`."""
    unprocessed: int
    """Outcomes that no responder has folded into this yet, for more than GRACE."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def counts(self) -> dict[Shown, int]:
        """How many cells show which."""
        found = Counter(cell.shown for cell in self.cells)
        return {shown: found[shown] for shown in Shown}


def fleet_status(session: Session, now: datetime, selector: Selector | None = None) -> FleetStatus:
    """How every case stands on the clusters whose labels match (default: all). Eight statements."""
    found = list_clusters(session, now, selector).items
    cordoned = {cluster.name for cluster in found if cluster.cordoned_at is not None}
    chosen = {cluster.name for cluster in found}
    firing = AlertFilter(clusters=chosen)
    alerts = list_alerts(session, firing)
    standings: dict[CellKey, list[Any]] = defaultdict(list)
    for row in session.execute(_standings()):
        standings[row.case, row.cluster].append(row)
    due = {(case, cluster): next_due for case, cluster, next_due in session.execute(_schedules())}
    late = _late(due, session, now)
    cells = [
        _cell(key, standings.get(key, ()), is_late=key in late, is_cordoned=key[1] in cordoned)
        for key in sorted(standings.keys() | due.keys())
        if key[1] in chosen
    ]
    waiting = select(func.count()).where(is_unprocessed(), col(Outcome.stored_at) < now - GRACE)
    return FleetStatus(
        clusters=found,
        cells=tuple(cells),
        alerts=alerts.items,
        open_alerts=len(alerts.items) if alerts.next is None else count_alerts(session, firing),
        unprocessed=session.execute(waiting).scalar_one(),
    )


def list_node_cells(
    session: Session,
    selector: Selector | None = None,
    case: str | None = None,
    limit: int | None = None,
    after: str | None = None,
) -> Page[NodeCell]:
    """How cases stand on the nodes of clusters whose labels match (default: all), by case, cluster and node.

    `after`: the `next` of the page before; InvalidInputError where it is not one.
    """
    row, order = Standing, (col(Standing.case), col(Standing.cluster), col(Standing.node))
    columns: list[Any] = [row.case, row.cluster, row.node, _shown(), row.verdict, row.since, row.fails, row.unknowns]
    found = (
        select(*columns, col(row.run_id))
        .join(Cluster, col(Cluster.name) == col(Standing.cluster))
        .join(Node, _its_node(), isouter=True)
        .where(col(Standing.node).not_in(("", SOME_NODE)))
        .order_by(*order)
    )
    if selector is not None:
        found = found.where(col(Standing.cluster).in_([one.name for one in clusters.find(session, selector)]))
    if after is not None:
        found = found.where(tuple_(*order) > tuple_(*_position(after)))
    if case is not None:
        found = found.where(col(Standing.case) == case)
    cells = [_node_cell(*cell) for cell in session.execute(found.limit(None if limit is None else limit + 1))]
    shown = cells[:limit]
    last = f"{shown[-1].case}/{shown[-1].cluster}/{shown[-1].node}" if len(cells) > len(shown) else None
    return Page(tuple(shown), last)


def _position(cursor: str) -> list[str]:
    position = cursor.split("/")
    if len(position) != len(("case", "cluster", "node")):
        raise InvalidInputError(f"{cursor!r} is not a cursor of nodes: pass on `next` of the page before")
    return position


def _node_cell(case: str, cluster: str, node: str, shown: str, *known: Any) -> NodeCell:
    return NodeCell(case, cluster, node, Shown(shown), *known)


def _standings() -> Select[Any]:
    """For each case and cluster, how many of its nodes have which standing; the cluster's own is counted apart.

    Summed up by the database: there may be as many as cases times nodes of the whole fleet.
    """
    level = sql_case((col(Standing.node).in_(("", SOME_NODE)), ""), else_=_OF_NODE).label("level")
    shown = _shown().label("shown")
    key: tuple[Any, ...] = (col(Standing.case).label("case"), col(Standing.cluster).label("cluster"))
    return (
        select(
            *key,
            level,
            shown,
            func.count().label("nodes"),
            func.max(col(Standing.verdict)).label("verdict"),
            type_coerce(func.min(col(Standing.since)), UTCDateTime).label("since"),
            func.max(col(Standing.fails)).label("fails"),
            func.max(col(Standing.unknowns)).label("unknowns"),
            func.max(col(Standing.run_id)).label("run_id"),
        )
        .join(Node, _its_node(), isouter=True)
        # A pass of the nodes as a whole only means that nodes are known.
        .where(not_((col(Standing.node) == SOME_NODE) & (col(Standing.verdict) == Verdict.PASS)))
        .group_by(*key, level, shown)
    )


def _its_node() -> ColumnElement[bool]:
    return (col(Node.cluster) == col(Standing.cluster)) & (col(Node.name) == col(Standing.node))


def _shown() -> ColumnElement[str]:
    return sql_case((col(Node.unschedulable).is_(other=True), Shown.CORDONED.value), else_=col(Standing.verdict))


def _schedules() -> Select[Any]:
    """Where something is due periodically, and when next; None where all of it is paused."""
    earliest = func.min(sql_case((col(Schedule.paused_at).is_(None), col(Schedule.next_due))))
    key = (col(Schedule.case), col(Schedule.cluster))
    return select(*key, type_coerce(earliest, UTCDateTime)).group_by(*key)  # type: ignore[return-value]


def _late(due: Mapping[CellKey, datetime | None], session: Session, now: datetime) -> set[CellKey]:
    """Where a slot was not issued in time, or a run has no outcome long after its time was up."""
    runs = select(col(Run.case), col(Run.cluster)).where(is_open(), col(Run.expires_at) < now - GRACE)
    overdue = {(case, cluster) for case, cluster in session.execute(runs)}
    return overdue | {key for key, next_due in due.items() if next_due is not None and next_due < now - GRACE}


_WORST_FIRST = (Shown.FAIL, Shown.UNKNOWN, Shown.PASS, Shown.CORDONED)


def _cell(key: CellKey, standings: Sequence[Any], *, is_late: bool, is_cordoned: bool) -> Cell:
    """The worst of a cluster's own standing and those of its nodes."""
    ordered = sorted(standings, key=lambda row: _WORST_FIRST.index(Shown(row.shown)))
    if not ordered:
        shown = Shown.CORDONED if is_cordoned else Shown.STALE if is_late else Shown.NEVER
        return Cell(*key, shown, None, None, 0, 0, None)
    worst = ordered[0]
    shown = Shown.CORDONED if is_cordoned else Shown.STALE if is_late else Shown(worst.shown)
    nodes = {row.shown: int(row.nodes) for row in ordered if row.level == _OF_NODE}
    return Cell(*key, shown, worst.verdict, worst.since, worst.fails, worst.unknowns, worst.run_id, nodes=nodes or None)
