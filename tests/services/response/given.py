"""A store that holds clusters, a catalog and outcomes, for these tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import event, update
from sqlmodel import SQLModel, col, select

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import deliver, respond
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import AlertRoute, CatalogVersion, Cluster, Node, Notification, Outcome, ProbeCase, Run, Store
from kubeprobe.vocabulary import NotificationState, Reason, RunState, Trigger, Verdict

_REASONS = {
    Verdict.PASS: Reason.PASSED,
    Verdict.FAIL: Reason.REPORTED_FAILURE,
    Verdict.UNKNOWN: Reason.EVICTED,
}
_serial = count()


class World:
    """Rows that other packages would have written to the store. Times are minutes after `noon`."""

    def __init__(self, store: Store, noon: datetime) -> None:
        self.store = store
        self.noon = noon

    def at(self, minute: float) -> datetime:
        """That instant."""
        return self.noon + timedelta(minutes=minute)

    def cluster(self, *names: str, **labels: str) -> None:
        """Add clusters."""
        with self.store.writing() as session:
            session.add_all(
                Cluster(name=name, labels=labels, connection_kind="local", connection=b"", created_at=self.noon)
                for name in names
            )

    def node(self, name: str, cluster: str = "prod-1", *, since: float = 0) -> None:
        """List the nodes of a cluster, with this one since that minute."""
        with self.store.writing() as session:
            listed = {"watches_nodes": True, "nodes_listed_at": self.noon}
            session.execute(update(Cluster).where(col(Cluster.name) == cluster).values(**listed))
            times = {"created_at": self.at(since), "seen_at": self.at(since)}
            session.merge(Node(cluster=cluster, name=name, uid=f"{name}-{since}", **times))

    def node_leaves(self, name: str, cluster: str = "prod-1") -> None:
        """Remove a node from its cluster."""
        with self.store.writing() as session:
            session.delete(session.get_one(Node, (cluster, name)))

    def on_node(self, verdict: Verdict, minute: float, node: str | None, **other: Any) -> str:
        """Store a run about a node, and its outcome; None: about the nodes as a whole."""
        return self.outcome(verdict, minute, node=node, node_level=True, **other)

    def cordon(self, name: str, *, at: datetime | None) -> None:
        """Cordon a cluster, or (with None) uncordon it."""
        with self.store.writing() as session:
            session.execute(update(Cluster).where(col(Cluster.name) == name).values(cordoned_at=at))

    def case(self, name: str = "pod-lifecycle", **spec: Any) -> None:
        """Put a case into the catalog, or replace it."""
        self._apply(ProbeCase, name, {"template": "pod-lifecycle", "kind": "blackbox", **spec})

    def route(self, name: str, *targets: dict[str, Any], **match: Any) -> None:
        """Put a route into the catalog, or replace it."""
        self._apply(AlertRoute, name, {"match": match, "targets": list(targets)})

    def remove(self, kind: type[SQLModel], name: str) -> None:
        """Delete a row."""
        with self.store.writing() as session:
            session.delete(session.get_one(kind, name))
            _grow(session)

    def outcome(
        self,
        verdict: Verdict,
        minute: float,
        cluster: str = "prod-1",
        case: str = "pod-lifecycle",
        *,
        parameters: dict[str, str] | None = None,
        **other: Any,
    ) -> str:
        """Store a run and its outcome; returns the run's id."""
        run_id = f"{next(_serial):026d}"
        due, common = self.at(minute), {"cluster": cluster, "case": case}
        trigger = other.pop("trigger", Trigger.MANUAL if parameters else Trigger.PERIODIC)
        stored = other.pop("stored", minute + 0.1)
        fields = {"reason": _REASONS[verdict], "message": "", "report": None, **other}
        with self.store.writing() as session:
            times = {"due_at": due, "opened_at": due, "launch_at": due, "wake_at": due, "expires_at": due}
            session.add(
                Run(
                    id=run_id,
                    slot=run_id,
                    trigger=trigger,
                    pool="default",
                    state=RunState.DONE,
                    parameters=parameters,
                    **common,
                    **times,
                )
            )
            session.flush()
            session.add(
                Outcome(
                    run_id=run_id,
                    trigger=trigger,
                    verdict=verdict,
                    due_at=due,
                    stored_at=self.at(stored),
                    **common,
                    **fields,
                )
            )
        return run_id

    def delete_outcome(self, run: str) -> None:
        """Delete an outcome, as `forget` does."""
        with self.store.writing() as session:
            session.delete(session.get_one(Outcome, run))

    def all(self, kind: type[SQLModel], *order: Any) -> list[Any]:
        """All rows of a table."""
        with self.store.reading() as session:
            return list(session.exec(select(kind).order_by(*order)))

    def _apply(self, kind: type[SQLModel], name: str, spec: dict[str, Any]) -> None:
        with self.store.writing() as session:
            session.merge(kind(name=name, spec=spec, digest="", applied_at=self.noon))
            _grow(session)


def send(
    world: World, catalogs: CatalogCache, now: datetime, target: str = "hook", route: str = "team"
) -> NotificationState | None:
    """Send the next message to a target, at that time."""
    return deliver(world.store, catalogs, TargetRef(route, target), lambda: now)


def newest(world: World) -> str:
    """The id of the notification that was written last."""
    return max(world.all(Notification), key=lambda row: row.version).id  # type: ignore[no-any-return]


def fail(world: World, catalogs: CatalogCache, minute: float = 1) -> str:
    world.outcome(Verdict.FAIL, minute)
    respond(world.store, catalogs, world.at(minute))
    return newest(world)


def recover(world: World, catalogs: CatalogCache, minute: float) -> str:
    world.outcome(Verdict.PASS, minute)
    respond(world.store, catalogs, world.at(minute))
    return newest(world)


def stored(world: World, notification: str) -> Notification:
    return next(row for row in world.all(Notification) if row.id == notification)


def _grow(session: Any) -> None:
    session.execute(update(CatalogVersion).values(version=col(CatalogVersion.version) + 1))


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """The statements that the store executes, without BEGIN."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
