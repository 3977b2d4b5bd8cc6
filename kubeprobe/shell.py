"""KubeProbe from Python: ask for runs, tell of changes, look at what came of them.

In a shell (`kubeprobe shell`) or a script: ``kubeprobe.run("pod-lifecycle", cluster="prod-1").wait()``. The
installation is the one that the environment names (KUBEPROBE_*), as on the command line, which asks through here too.
Next: launchers take what was opened; the outcomes are read from the store.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url
from sqlmodel import Session
from ulid import ULID

from kubeprobe.catalog import load_catalog
from kubeprobe.clock import utc_now
from kubeprobe.effects import Effects, dispatch
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet import clusters as fleet_clusters
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.fleet.official import official_client
from kubeprobe.queue import Queue
from kubeprobe.runs import OpenedRun, worst
from kubeprobe.settings import Settings
from kubeprobe.store import Change, Cluster, Store, open_store
from kubeprobe.store.migrate import check_schema
from kubeprobe.trigger import Request, record_change, request_runs
from kubeprobe.views import RunFilter, RunView, list_runs, runs_by_id, wait_for_outcomes


class NoStoreError(KubeProbeError):
    """There is no store where the settings say. Run `kubeprobe migrate`, or `kubeprobe up` to start everything."""


class NotEndedError(KubeProbeError):
    """Runs had no outcome when the time to wait for them was over. They go on; ask again later."""


@dataclass(frozen=True)
class OpenInstallation:
    """The installation that this process works with."""

    settings: Settings
    store: Store
    queue: Queue

    @classmethod
    def open(cls, settings: Settings) -> "OpenInstallation":
        """Open the store, which must be migrated. The broker is not spoken to before something is sent."""
        store = open_ready_store(settings)
        return cls(settings, store, Queue.connect(settings.broker()))

    def run(self, request: Request) -> "Requested":
        """Open runs and wake launchers. Raises as `trigger.request_runs`, with nothing opened."""
        with self.store.writing() as session:
            opened = request_runs(session, load_catalog(session), request, utc_now(), self.settings)
        return self._wake(opened)

    def change(self, change: Change) -> "Requested":
        """Tell of a change: what is bound to its component runs at once. Told twice with the same id, it runs once."""
        with self.store.writing() as session:
            told = record_change(session, load_catalog(session), change, utc_now(), self.settings)
            earlier = [] if told.new else _runs_of_change(session, change.id)
        return self._wake(told.opened, earlier)

    def _wake(self, opened: Sequence[OpenedRun], earlier: Sequence[str] = ()) -> "Requested":
        is_woken = dispatch(self.queue, Effects(launch=opened), self.settings.batch_size)
        return Requested(self.store, tuple(run.id for run in opened) or tuple(earlier), is_woken=is_woken)


@dataclass(frozen=True, repr=False)
class Requested:
    """Runs that were asked for."""

    store: Store
    run_ids: tuple[str, ...]
    is_woken: bool = True
    """False: the broker is away, so launchers hear of them from beat, seconds later."""

    @property
    def runs(self) -> list[RunView]:
        """The runs as they stand now."""
        with self.store.reading() as session:
            return runs_by_id(session, self.run_ids)

    @property
    def outcomes(self) -> list[RunView]:
        """Those of the runs that have their outcome."""
        return [run for run in self.runs if run.verdict is not None]

    @property
    def verdict(self) -> str | None:
        """The worst: fail before unknown before pass. None while a run has no outcome, and where there are no runs."""
        return worst(run.verdict for run in self.runs)

    def wait(self, timeout: float | None = None, on_look: Callable[[list[RunView]], None] | None = None) -> "Requested":
        """Return once every run has its outcome. Raises NotEndedError after `timeout` seconds."""
        runs = wait_for_outcomes(self.store, self.run_ids, timeout, on_look)
        if waiting := [run for run in runs if run.verdict is None]:
            listed = ", ".join(f"{run.case} on {run.place} ({run.state})" for run in waiting[:5])
            more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
            raise NotEndedError(f"No outcome after {timeout:g} s: {listed}{more}. `kubeprobe doctor` may tell why.")
        return self

    def __repr__(self) -> str:
        lines = (
            f"{run.verdict or run.state:8} {run.case} on {run.place}  {run.id}  {run.said}".rstrip()
            for run in self.runs
        )
        return "\n".join(lines) or "no runs"


def run(
    case: str,
    *,
    cluster: str | None = None,
    clusters: Sequence[str] = (),
    selector: str = "",
    nodes: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
) -> Requested:
    """Run a case now, on one cluster or some of its nodes, on several, or on those whose labels match a selector."""
    named = (*((cluster,) if cluster else ()), *clusters)
    return installation().run(Request(case, named, selector, parameters, nodes=tuple(nodes)))


def change(component: str, version: str = "", *, clusters: Sequence[str], id: str = "") -> Requested:  # noqa: A002
    """Tell that a component changed on clusters. With an `id` of yours, telling it again changes nothing."""
    return installation().change(new_change(component, version, clusters, id))


def runs(
    case: str | None = None, cluster: str | None = None, verdict: str | None = None, limit: int = 20
) -> list[RunView]:
    """The newest runs."""
    with installation().store.reading() as session:
        return list_runs(session, RunFilter(case=case, cluster=cluster, verdict=verdict), limit)


def outcomes(case: str | None = None, cluster: str | None = None, since_s: float = 3600) -> list[RunView]:
    """The runs of the last `since_s` seconds that have their outcome, newest first."""
    wanted = RunFilter(case=case, cluster=cluster, since=utc_now() - timedelta(seconds=since_s))
    with installation().store.reading() as session:
        return [run for run in list_runs(session, wanted, limit=10_000) if run.verdict is not None]


def cluster(name: str) -> Cluster:
    """A cluster. Raises NotFoundError with the nearest name."""
    with installation().store.reading() as session:
        return fleet_clusters.get(session, name)


def api(cluster_name: str) -> Any:
    """The official client of a cluster: ``kubernetes.client.CoreV1Api(api("prod-1")).list_node()``."""
    return official_client(cluster(cluster_name), Cipher.from_settings(installation().settings))


@cache
def installation() -> OpenInstallation:
    """The installation that the environment names, opened when it is first needed."""
    return OpenInstallation.open(Settings())


def open_ready_store(settings: Settings) -> Store:
    """Open a store that is there and migrated. Raises NoStoreError or SchemaOutdatedError."""
    address = make_url(settings.database())
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").exists():
        raise NoStoreError(
            f"There is no store at {address.database}. Go to the folder that has it, or make one: "
            "`kubeprobe up` starts everything here, `kubeprobe migrate` makes an empty one."
        )
    store = open_store(settings.database())
    try:
        check_schema(store)
    except BaseException:
        store.close()
        raise
    return store


def new_change(
    component: str, version: str, clusters: Sequence[str], change_id: str = "", node: str | None = None
) -> Change:
    """A change that happens now; without an id it gets one of its own."""
    now = utc_now()
    return Change(
        id=change_id or str(ULID.from_datetime(now)).lower(),
        component=component,
        version=version,
        clusters=list(clusters),
        node=node,
        happened_at=now,
    )


def _runs_of_change(session: Session, change_id: str) -> list[str]:
    return [run.id for run in list_runs(session, RunFilter(change=change_id), limit=10_000)]
