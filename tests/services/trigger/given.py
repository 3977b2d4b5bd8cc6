"""A store with clusters, schedules and runs, for these tests."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import event, insert
from sqlmodel import col, select, update

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.model import BindingSpec, ProbeCaseSpec
from kubeprobe.catalog.times import next_due
from kubeprobe.store import Cluster, Node, Outcome, Run, Schedule, Store
from kubeprobe.vocabulary import RunState, Trigger

T = TypeVar("T")
CASE = "pod-lifecycle"


class World:
    """Rows that other packages would have written to the store."""

    def __init__(self, store: Store, noon: datetime) -> None:
        self.store = store
        self.noon = noon

    def cluster(self, *names: str, cordoned_at: datetime | None = None, **labels: str) -> None:
        """Add clusters."""
        common = {"connection_kind": "local", "connection": b"", "created_at": self.noon}
        rows = [{"name": n, "labels": labels, "cordoned_at": cordoned_at, **common} for n in names]
        with self.store.writing() as session:
            session.execute(insert(Cluster), rows)

    def nodes(self, cluster: str, *names: str, unschedulable: bool = False, **labels: str) -> None:
        """List the nodes of a cluster, these among them."""
        common = {"cluster": cluster, "labels": labels, "unschedulable": unschedulable, "ready": True}
        times = dict.fromkeys(("created_at", "seen_at"), self.noon)
        self.change_cluster(cluster, watches_nodes=True, nodes_listed_at=self.noon)
        with self.store.writing() as session:
            session.execute(insert(Node), [{"name": n, "uid": f"uid-{n}"[:36], **common, **times} for n in names])

    def change_cluster(self, name: str, **values: Any) -> None:
        """Change a cluster's row."""
        self.change(Cluster, col(Cluster.name) == name, **values)

    def schedule(self, cluster: str = "prod-1", *, due: datetime | None = None, **terms: Any) -> int:
        """Add a schedule, by default every five minutes and due at noon; gives its id."""
        return self.schedules([cluster], due=due, **terms)[-1]

    def schedules(self, clusters: Sequence[str], *, due: datetime | None = None, **terms: Any) -> list[int]:
        """Add a schedule for each of these clusters."""
        fields = {
            "binding": "all",
            "case": CASE,
            "pool": "default",
            "every_s": None if "cron" in terms else 300,
            **terms,
        }
        common = Schedule(cluster="", next_due=due or self.noon, **fields).model_dump(exclude={"id"})
        rows = [{**common, "cluster": name} for name in clusters]
        with self.store.writing() as session:
            session.execute(insert(Schedule), rows)
            found = session.exec(select(Schedule.id).where(col(Schedule.cluster).in_(clusters[:1000])))
            return sorted(i for i in found if i is not None)

    def cron(self, cron: str, timezone: str, start: datetime) -> None:
        """Add a schedule by cron that begins at `start`."""
        timing = Schedule(
            binding="all", case=CASE, cluster="", pool="default", cron=cron, timezone=timezone, next_due=start
        )
        self.schedule(cron=cron, timezone=timezone, due=next_due(timing, start))

    def run(self, *run_ids: str, **fields: Any) -> None:
        """Add runs that are pending, opened at noon."""
        times = dict.fromkeys(("due_at", "opened_at", "launch_at", "wake_at", "expires_at"), self.noon)
        common = {"trigger": Trigger.MANUAL, "case": CASE, "cluster": "prod-1", "pool": "default", **times, **fields}
        with self.store.writing() as session:
            session.execute(insert(Run), [{"id": i, "slot": i, **common} for i in run_ids])

    def change(self, table: Any, *where: Any, **values: Any) -> None:
        """Change rows of a table."""
        with self.store.writing() as session:
            session.execute(update(table).where(*where).values(**values))

    def end(self, *run_ids: str) -> None:
        """Mark runs as done."""
        self.change(Run, col(Run.id).in_(run_ids), state=RunState.DONE)

    @property
    def runs(self) -> list[Run]:
        """All runs in the order of their due times."""
        with self.store.reading() as session:
            return list(session.exec(select(Run).order_by(col(Run.due_at), col(Run.id))))

    @property
    def outcomes(self) -> list[Outcome]:
        """All outcomes in the order of their due times."""
        with self.store.reading() as session:
            return list(session.exec(select(Outcome).order_by(col(Outcome.due_at), col(Outcome.run_id))))


def catalog(**bindings: dict[str, Any]) -> Catalog:
    """A catalog of one case and these bindings."""
    case = ProbeCaseSpec.model_validate({"template": "pod-lifecycle", "kind": "blackbox"})
    specs = {name.replace("_", "-"): BindingSpec.model_validate(spec) for name, spec in bindings.items()}
    return Catalog(version=1, cases={CASE: case, "dns-lookup": case}, bindings=specs)


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """The results of a function in several threads that start at the same moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> T:
        barrier.wait(timeout=30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """The statements, with parameters, that the store executes, without BEGIN."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
