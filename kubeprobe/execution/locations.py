"""Locations of pods: a run's pod is found where it was created, wherever its cluster is by then.

A launcher records the location of a cluster's pods before it creates any there. If the cluster's address or namespace
changes, the collector of the cluster follows the former location until no pod is left there. Removed clusters are
followed by nobody: their runs expire, and a launcher deletes their pods (`remove`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlmodel import Session, col

from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.credentials import SecretKeyError
from kubeprobe.store import Cluster, PodLocation, Run, Store, is_open, upsert
from kubeprobe.vocabulary import RunState

log = structlog.get_logger(__name__)

LOOKUP = 500
READ_WITHIN_S = 5.0
_CALLS: BlockingCalls[dict[str, str]] = BlockingCalls("cluster-locations", limit=2, slow_limit=2)
KEPT_FOR = timedelta(hours=1)
"""A former location that cannot be reached, and has no open runs, is given up after so long."""


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

    Raises TimeoutError.
    """

    def locate() -> dict[str, str]:
        return {cluster.name: location_id(cluster, clients) for cluster in clusters}

    return await _CALLS.run(object(), locate, READ_WITHIN_S)


def record_location(session: Session, cluster: Cluster, clients: ClusterClients) -> str:
    """Store the present location of a cluster before pods are created there; its id."""
    found = location_id(cluster, clients)
    row = {
        "id": found,
        "cluster": cluster.name,
        "cluster_created_at": cluster.created_at,
        "namespace": cluster.namespace,
        "connection": cluster.connection,
        "connection_version": cluster.connection_version,
        "left_at": None,
    }
    upsert(session, PodLocation, [row])
    return found


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


def cluster_at(
    session: Session, location: str | None, cluster: Cluster | None, clients: ClusterClients
) -> Cluster | None:
    """The cluster as it is reached where a run's pod is: its row, unless it has moved. None: it is removed."""
    if location is None or (cluster is not None and location_id(cluster, clients) == location):
        return cluster
    found = session.get(PodLocation, location)
    return cluster if found is None else former_cluster(found, cluster)


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
    """Delete those former locations without open runs that are drained, or could not be reached for long; their ids.

    `drained`: ids of locations where no pod is left. No statement if there are none of both.
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
