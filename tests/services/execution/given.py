"""A store with a catalog, clusters and runs, and a launcher on it, for these tests."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, select, update

from kubeprobe.fleet import clusters
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.runs import Ending, Judgement, claim, lock_cluster
from kubeprobe.settings import Settings
from kubeprobe.store import CatalogVersion, Cluster, ProbeCase, ProbeTemplate, Run, Store
from kubeprobe.vocabulary import Reason, Verdict
from tests.services.trigger.given import CASE, World
from tests.unit.fleet.rows import connection_to

PASSED = Judgement(Verdict.PASS, Reason.PASSED, exit_code=0)
FAILED = Judgement(Verdict.FAIL, Reason.REPORTED_FAILURE, "no", exit_code=1)
EVICTED = Judgement(Verdict.UNKNOWN, Reason.EVICTED, "low on memory")


class Clock:
    """A clock that tests advance."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> datetime:
        """Advance by so many seconds."""
        self.now += timedelta(seconds=seconds)
        return self.now


class ExecutionWorld(World):
    """A store with the case `pod-lifecycle`; clusters may be reachable."""

    def __init__(self, store: Store, noon: datetime, cipher: Cipher) -> None:
        super().__init__(store, noon)
        self._cipher = cipher
        common: dict[str, Any] = {"name": CASE, "digest": "", "applied_at": noon}
        with store.writing() as session:
            session.add(ProbeTemplate(spec={"image": "docker.io/kubeprobe/busybox:dev"}, **common))
            session.add(ProbeCase(spec={"template": CASE, "kind": "blackbox"}, **common))
            session.execute(update(CatalogVersion).values(version=1))

    def reach(self, name: str, server: str, user: dict[str, Any] | None = None, **fields: Any) -> Cluster:
        """Add a cluster with its API at this address; `user`: its kubeconfig's user entry."""
        sealed = self._cipher.seal(connection_to(server, user=user))
        cluster = Cluster(name=name, connection_kind="kubeconfig", connection=sealed, created_at=self.noon, **fields)
        with self.store.writing() as session:
            session.add(cluster)
        return cluster

    def move(self, name: str, server: str) -> None:
        """Replace the connection of a cluster, as `cluster add --replace` does."""
        registration = clusters.ClusterRegistration(name)
        with self.store.writing() as session:
            clusters.add(session, registration, connection_to(server), self._cipher, self.noon, replace=True)

    def claim(self, cluster: str, run_ids: Sequence[str], now: datetime, settings: Settings) -> list[str]:
        """Claim these runs as a launcher does."""
        with self.store.writing() as session:
            locked = lock_cluster(session, cluster)
            assert locked is not None
            return [run.id for run in claim(session, locked[0], run_ids, now, settings).runs]

    def find(self, run_id: str) -> Run:
        """The current row of a run."""
        with self.store.reading() as session:
            return session.get_one(Run, run_id)

    def find_cluster(self, name: str) -> Cluster:
        """The current row of a cluster."""
        with self.store.reading() as session:
            return session.get_one(Cluster, name)

    def states(self) -> dict[str, str]:
        """The state of every run."""
        with self.store.reading() as session:
            return dict(session.exec(select(col(Run.id), col(Run.state))).all())

    @property
    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Verdict and reason by run."""
        return {outcome.run_id: (outcome.verdict, outcome.reason) for outcome in self.outcomes}


def ending(run_id: str, judgement: Judgement = PASSED, attempt: int | None = 1, retries: int = 0) -> Ending:
    """The ending of one attempt of a run."""
    return Ending(run_id, judgement, attempt=attempt, retries=retries, pod=f"kp-{run_id}", pod_uid=f"uid-{run_id}")
