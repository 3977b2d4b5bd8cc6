"""Schedule rows, one for each binding, case and matching cluster. Next: `trigger` opens a run when one is due."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlmodel import Session, col

from kubeprobe.catalog.model import BindingSpec, Periodic
from kubeprobe.catalog.problems import CatalogError, CatalogProblem
from kubeprobe.catalog.snapshot import Catalog, load_catalog
from kubeprobe.catalog.times import next_due, spread_offset
from kubeprobe.catalog.version import lock_catalog, lock_clusters
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Cluster, Node, Schedule
from kubeprobe.store.chunks import chunked

MAX_SCHEDULES = 500_000
"""10,000 clusters with 50 cases each; an apply holds some 500 bytes for each."""
_WatchedCluster = tuple[str, Mapping[str, str], bool]
"""Name, labels, and whether collectors watch its nodes."""


class ScheduleKey(NamedTuple):
    """What identifies a schedule row."""

    binding: str
    case: str
    cluster: str


class ScheduleValues(NamedTuple):
    """The columns of a schedule row that follow from the catalog; a `times.Timing`."""

    every_s: int | None
    cron: str | None
    timezone: str
    offset_s: float
    pool: str
    concurrency: str
    nodes: str | None = None
    """JSON of the binding's `nodes`."""

    @property
    def timing(self) -> tuple[Any, ...]:
        """The columns that determine when it is due."""
        return self[:4]


class _Row(NamedTuple):
    """A stored row."""

    id: int
    values: ScheduleValues
    is_paused: bool


@dataclass(frozen=True)
class ScheduleChanges(JsonModel):
    """Numbers of rows that were added, changed and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0


def prepare_schedules(session: Session, labels: Mapping[str, Mapping[str, str] | None]) -> Catalog:
    """Lock all clusters that a transaction writes, before it writes any; gives the catalog for `sync_schedules`.

    They are those in `labels` (what the transaction makes of their labels; None: it removes the cluster), and those
    whose watch of nodes changes. The entries of the catalog are written already. Raises CatalogError if there would be
    too many schedules.
    """
    session.flush()
    lock_catalog(session)
    catalog = load_catalog(session)
    after = {name: (labels_of, watched) for name, labels_of, watched in _watched_clusters(session)}
    after |= {name: (given, after.get(name, ({}, False))[1]) for name, given in labels.items() if given is not None}
    remaining = [(name, *facts) for name, facts in after.items() if labels.get(name, {}) is not None]
    check_number(session, catalog.bindings, [(name, labels_of) for name, labels_of, _ in remaining])
    changed = _changed_watches(catalog, remaining)
    lock_clusters(session, {*labels, *changed[True], *changed[False]})
    return catalog


def check_number(
    session: Session, bindings: Mapping[str, BindingSpec], clusters: Sequence[tuple[str, Mapping[str, str]]]
) -> None:
    """Raises CatalogError if these bindings make more than MAX_SCHEDULES rows on these clusters (name, labels).

    A store that an old version filled beyond that may keep or reduce its number.
    """
    counts = {
        name: len(binding.cases) * sum(binding.clusters.matches(cluster, labels) for cluster, labels in clusters)
        for name, binding in bindings.items()
        if binding.on.periodic is not None
    }
    total = sum(counts.values())
    if total > MAX_SCHEDULES and total > session.execute(select(func.count()).select_from(Schedule)).scalar_one():
        largest = max(counts, key=counts.__getitem__)
        cases = len(bindings[largest].cases)
        message = (
            f"the periodic bindings make {total:,} schedules (cases x clusters), {counts[largest]:,} of them this one: "
            f"{cases:,} cases on {counts[largest] // cases:,} clusters"
        )
        expected = f"at most {MAX_SCHEDULES:,} schedules in all: fewer cases or clusters in a binding"
        raise CatalogError([CatalogProblem("", 1, f"Binding/{largest}", "spec", message, expected)])


def sync_schedules(session: Session, now: datetime, catalog: Catalog) -> ScheduleChanges:
    """Make the schedule rows equal bindings x cases x matching clusters. `catalog`: what `prepare_schedules` gave.

    Only a change of timing recomputes `next_due` from `now`; with any other change, a slot that is due but not yet
    issued stays due. Rows of cordoned clusters (which `trigger` skips) and of paused bindings are kept. A row that was
    paused for its cluster alone stays paused. Rows of a binding that is unreadable stay as they are.
    """
    session.flush()
    bindings, unreadable = catalog.bindings, catalog.unreadable_of("Binding")
    paused = {name for name, binding in bindings.items() if binding.paused}
    clusters = session.execute(select(col(Cluster.name), col(Cluster.labels), col(Cluster.pool))).all()
    existing = {cluster for cluster, _, _ in clusters}
    wanted = dict(expected_schedules(bindings, clusters))
    rows = _rows(session)
    added = [
        {
            **key._asdict(),
            **values._asdict(),
            "next_due": next_due(values, now),
            "paused_at": now if key.binding in paused else None,
        }
        for key, values in wanted.items()
        if key not in rows
    ]
    changed = [(rows[key], values) for key, values in wanted.items() if key in rows and rows[key].values != values]
    to_pause = [row.id for key, row in rows.items() if key in wanted and key.binding in paused and not row.is_paused]
    removed = [
        row.id
        for key, row in rows.items()
        if key not in wanted and not (key.binding in unreadable and key.cluster in existing)
    ]
    _update_node_watches(session, catalog)
    for chunk in chunked(removed):
        session.execute(delete(Schedule).where(col(Schedule.id).in_(chunk)))
    for chunk in chunked(to_pause):
        session.execute(update(Schedule).where(col(Schedule.id).in_(chunk)).values(paused_at=now))
    _update(session, changed, now)
    for rows_of_chunk in chunked(added):
        session.execute(insert(Schedule), rows_of_chunk)
    touched = {row.id for row, _ in changed} | set(to_pause)
    return ScheduleChanges(len(added), len(touched), len(removed))


def schedule_values(periodic: Periodic, key: ScheduleKey, pool: str, concurrency: str) -> ScheduleValues:
    """The schedule of a binding's periodic trigger for one case on one cluster."""
    if periodic.every is not None:
        offset = (
            periodic.offset.total_seconds()
            if periodic.offset is not None
            else spread_offset(key.binding, key.cluster, key.case, periodic.every)
        )
        return ScheduleValues(int(periodic.every.total_seconds()), None, "UTC", offset, pool, concurrency)
    offset = spread_offset(key.binding, key.cluster, key.case, periodic.spread) if periodic.spread else 0.0
    return ScheduleValues(None, periodic.cron, periodic.time_zone, offset, pool, concurrency)


def expected_schedules(
    bindings: Mapping[str, BindingSpec], clusters: Sequence[tuple[str, Mapping[str, str], str]]
) -> Iterator[tuple[ScheduleKey, ScheduleValues]]:
    """The schedules of all bindings on these clusters (name, labels, pool)."""
    for name, binding in bindings.items():
        periodic = binding.on.periodic
        if periodic is None:
            continue
        nodes = None if binding.nodes is None else orjson.dumps(binding.nodes.as_json()).decode()
        for cluster, labels, pool in clusters:
            if binding.clusters.matches(cluster, labels):
                for case in binding.cases:
                    key = ScheduleKey(name, case, cluster)
                    values = schedule_values(periodic, key, pool, str(binding.concurrency))
                    yield key, values._replace(nodes=nodes)


def _watched_clusters(session: Session) -> list[_WatchedCluster]:
    columns = select(col(Cluster.name), col(Cluster.labels), col(Cluster.watches_nodes))
    return [(name, labels, watched) for name, labels, watched in session.execute(columns)]


def _changed_watches(catalog: Catalog, clusters: Iterable[_WatchedCluster]) -> dict[bool, list[str]]:
    """The clusters whose nodes collectors start to watch (True), and stop to watch.

    While a binding that may need them cannot be read, no watch ends.
    """
    with_nodes = [binding for binding in catalog.bindings.values() if binding.nodes is not None]
    keeps_watches = not all(entry.lacks("nodes") for entry in catalog.unreadable_of("Binding").values())
    changed: dict[bool, list[str]] = {True: [], False: []}
    for name, labels, watched in clusters:
        wanted = any(binding.clusters.matches(name, labels) for binding in with_nodes)
        if wanted != watched and not (watched and keeps_watches):
            changed[wanted].append(name)
    return changed


def _update_node_watches(session: Session, catalog: Catalog) -> None:
    """Set for which clusters collectors watch nodes; where that changes, the cached nodes are deleted.

    `prepare_schedules` has locked them.
    """
    for wanted, names in _changed_watches(catalog, _watched_clusters(session)).items():
        for chunk in chunked(names):
            changed = update(Cluster).where(col(Cluster.name).in_(chunk))
            session.execute(changed.values(watches_nodes=wanted, nodes_listed_at=None, nodes_error=""))
            session.execute(delete(Node).where(col(Node.cluster).in_(chunk)))


def _rows(session: Session) -> dict[ScheduleKey, _Row]:
    columns = select(
        col(Schedule.id),
        col(Schedule.binding),
        col(Schedule.case),
        col(Schedule.cluster),
        col(Schedule.every_s),
        col(Schedule.cron),
        col(Schedule.timezone),
        col(Schedule.offset_s),
        col(Schedule.pool),
        col(Schedule.concurrency),
        col(Schedule.nodes),
        col(Schedule.paused_at).is_not(None),
    )
    return {
        ScheduleKey(*row[1:4]): _Row(row[0], ScheduleValues(*row[4:11]), bool(row[11]))
        for row in session.execute(columns)
    }


def _update(session: Session, changed: Sequence[tuple[_Row, ScheduleValues]], now: datetime) -> None:
    """Write the new values; if the timing changed, `next_due` is recomputed from now."""
    table = Schedule.__table__  # type: ignore[attr-defined]  # SQLModel declares no type for it
    for is_retimed in (False, True):
        rows = [
            {"row": row.id, **values._asdict(), **({"next_due": next_due(values, now)} if is_retimed else {})}
            for row, values in changed
            if (row.values.timing != values.timing) is is_retimed
        ]
        for chunk in chunked(rows):
            fields = [name for name in chunk[0] if name != "row"]
            statement = table.update().where(table.c.id == bindparam("row"))
            session.connection().execute(statement.values({name: bindparam(name) for name in fields}), chunk)
