"""Locations of pods: a run's pod is found where it was created, wherever its cluster is by then.

A launcher records the location of a cluster's pods before it creates any there. If the cluster's address or namespace
changes, the collector of the cluster follows the former location until no pod is left there. Removed clusters are
followed by nobody: their runs expire, and a launcher deletes their pods (`remove`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlmodel import Session, col

from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.credentials import SecretKeyError
from kubeprobe.fleet.errors import Cause, ClusterError, LocalResourceError, QueueTimeoutError, cluster_error
from kubeprobe.fleet.translation import from_exception
from kubeprobe.store import Cluster, PodLocation, Run, Store, is_open, upsert
from kubeprobe.vocabulary import RunState

log = structlog.get_logger(__name__)

LOOKUP = 500
READ_WITHIN_S = 5.0
_CALLS: BlockingCalls[dict[str, str]] = BlockingCalls("cluster-locations", limit=2, slow_limit=2)
KEPT_FOR = timedelta(hours=1)
"""A former location that has no open runs, and is not drained within this time, is given up."""


@dataclass(frozen=True)
class Located:
    """The location of a cluster by a row of it, or why it cannot be read."""

    cluster: Cluster
    location: str | ClusterError

    def record(self, session: Session, cluster: Cluster) -> str | ClusterError | None:
        """Store the location, and return it or the error; None if the cluster has another connection by now."""
        if not has_same_connection(self.cluster, cluster):
            return None
        if isinstance(self.location, str):
            record_location(session, cluster, self.location)
        return self.location


def location_id(cluster: Cluster, clients: ClusterClients) -> str:
    """The identity of a cluster's present location: new credentials for the same address don't change it.

    With a connection that cannot be decrypted or read, every version of it is a location of its own.
    """
    try:
        address = clients.address(cluster)
    except (SecretKeyError, LookupError, TypeError, ValueError):
        address = f"{cluster.created_at.isoformat()} {cluster.connection_version}"
    return sha256(f"{cluster.name}\n{address}\n{cluster.namespace}".encode()).hexdigest()[:32]


async def location_ids(clusters: Collection[Cluster], clients: ClusterClients) -> dict[str, str]:
    """As `location_id`, by the name of the cluster, outside of the event loop: it reads the secret key.

    Not to be awaited in a transaction. Raises TimeoutError; LocalResourceError if KubeProbe has no thread for it.
    """
    if not clusters:
        return {}

    def locate() -> dict[str, str]:
        return {cluster.name: location_id(cluster, clients) for cluster in clusters}

    try:
        return await _CALLS.run(object(), locate, READ_WITHIN_S)
    except QueueTimeoutError:
        raise
    except TimeoutError:
        raise TimeoutError(f"the secret key was not read within {READ_WITHIN_S:g} s") from None


async def locate(cluster: Cluster, clients: ClusterClients) -> Located:
    """The location of a cluster, or why it cannot be read. Not to be awaited in a transaction."""
    try:
        return Located(cluster, (await location_ids([cluster], clients))[cluster.name])
    except LocalResourceError as error:
        return Located(cluster, from_exception(error))
    except OSError as error:
        return Located(cluster, cluster_error(Cause.CREDENTIALS_UNAVAILABLE, f"no credentials: {error}"))


def has_same_connection(one: Cluster, other: Cluster) -> bool:
    """Whether two rows of a cluster have the same connection and namespace."""
    return all(getattr(one, name) == getattr(other, name) for name in ("created_at", "connection_version", "namespace"))


def record_location(session: Session, cluster: Cluster, location: str) -> None:
    """Store the present location of a cluster before pods are created there. `location`: its id."""
    row = {
        "id": location,
        "cluster": cluster.name,
        "cluster_created_at": cluster.created_at,
        "namespace": cluster.namespace,
        "connection": cluster.connection,
        "connection_version": cluster.connection_version,
        "left_at": None,
    }
    upsert(session, PodLocation, [row])


def former_cluster(location: PodLocation, cluster: Cluster | None = None) -> Cluster:
    """The cluster as it was reached at a location, in no session; `cluster`: its present row, if there is one."""
    known = cluster.model_dump() if cluster is not None else {"name": location.cluster, "connection_kind": ""}
    return Cluster(
        **{
            **known,
            "namespace": location.namespace,
            "connection": location.connection,
            "connection_version": location.connection_version,
            "created_at": location.cluster_created_at,
        }
    )


def cluster_at(location: PodLocation | None, cluster: Cluster | None, present: str | None) -> Cluster | None:
    """The cluster as it is reached where a run's pod is: its row, unless it has moved. None: it is removed.

    `location`: the recorded one of the run; `present`: the id of the cluster's location now.
    """
    return cluster if location is None or location.id == present else former_cluster(location, cluster)


def former_locations(store: Store, present: Mapping[str, str], now: datetime) -> Sequence[PodLocation]:
    """Recorded locations that watched clusters have left. `present`: of each watched cluster, its location now.

    Marks new ones with `left_at`. One small statement unless a cluster has moved.
    """
    moved = or_(
        col(PodLocation.namespace) != col(Cluster.namespace),
        col(PodLocation.connection_version) != col(Cluster.connection_version),
        col(PodLocation.cluster_created_at) != col(Cluster.created_at),
    )
    listed = select(PodLocation).join(Cluster, and_(col(Cluster.name) == col(PodLocation.cluster), moved))
    with store.reading() as session:
        rows = session.scalars(listed).all()
    found = [row for row in rows if present.get(row.cluster, row.id) != row.id]
    if fresh := [row.id for row in found if row.left_at is None]:
        with store.writing() as session:
            _mark_left(session, col(PodLocation.id).in_(fresh), now)
        moved_clusters = sorted({row.cluster for row in found})
        log.info("clusters have moved; following their pods at former locations", clusters=moved_clusters)
    return found


def delete_locations(
    store: Store, locations: Sequence[PodLocation], drained: Collection[str], now: datetime
) -> set[str]:
    """Delete those former locations without open runs that are drained, or are not within `KEPT_FOR`; their ids.

    `drained`: ids of locations where no pod is left. Executes no statement if there are none.
    """
    ended = [each for each in locations if each.id in drained or _is_given_up(each, now)]
    deleted: set[str] = set()
    for part in (ended[i : i + LOOKUP] for i in range(0, len(ended), LOOKUP)):
        unused = (col(PodLocation.id).in_([each.id for each in part]), ~_has_open_runs())
        with store.writing() as session:
            deleted |= set(session.scalars(delete(PodLocation).where(*unused).returning(col(PodLocation.id))))
    for each in ended:
        if each.id in deleted - set(drained):
            log.warning("former location given up; pods may remain", cluster=each.cluster, namespace=each.namespace)
    return deleted


def _is_given_up(location: PodLocation, now: datetime) -> bool:
    return location.left_at is not None and location.left_at < now - KEPT_FOR


def delete_locations_of_removed_clusters(store: Store, now: datetime) -> None:
    """Delete the locations of removed clusters once their runs have ended and their pods had time to be deleted."""
    is_removed = ~exists().where(col(Cluster.name) == col(PodLocation.cluster))
    with store.writing() as session:
        gone = (is_removed, col(PodLocation.left_at) < now - KEPT_FOR, ~_has_open_runs())
        session.execute(delete(PodLocation).where(*gone))
        _mark_left(session, and_(is_removed, col(PodLocation.left_at).is_(None)), now)


def _mark_left(session: Session, where: ColumnElement[bool], now: datetime) -> None:
    session.execute(update(PodLocation).where(where).values(left_at=now))


def _has_open_runs() -> ColumnElement[bool]:
    with_pods = col(Run.state).in_((RunState.LAUNCHING, RunState.RUNNING))
    return exists().where(col(Run.location) == col(PodLocation.id), is_open(), with_pods)
