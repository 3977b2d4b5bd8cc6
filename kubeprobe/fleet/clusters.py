"""The clusters of this installation: added, labelled, cordoned, removed.

A caller that adds, relabels or removes one locks the catalog first (`catalog.version`), and runs
`catalog.schedules.sync_schedules` in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, col, delete, select

from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.fleet.labels import key_problem, name_problem, value_problem
from kubeprobe.fleet.selectors import Selector
from kubeprobe.names import nearest
from kubeprobe.store import Cluster, Node, Schedule
from kubeprobe.store.chunks import chunked
from kubeprobe.vocabulary import DEFAULT_MAX_IN_FLIGHT


@dataclass(frozen=True)
class ClusterRegistration:
    """What a user sets for a cluster."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    pool: str = "default"
    namespace: str = "kubeprobe"
    """Where its probe pods run."""
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT
    """The most probe pods at the same time."""


def add(
    session: Session,
    spec: ClusterRegistration,
    connection: Connection,
    cipher: Cipher,
    now: datetime,
    *,
    replace: bool = False,
) -> Cluster:
    """Add a cluster. With `replace`, an existing one gets the new values; its maintenance state and history stay.

    Raises InvalidInputError with all problems.
    """
    _require_valid(spec)
    cluster = session.get(Cluster, spec.name)
    if cluster is not None and not replace:
        raise InvalidInputError(
            f"cluster {spec.name!r} already exists; to replace its connection and labels, add --replace"
        )
    cluster = write(session, cluster, spec, connection, cipher, now)
    session.flush()
    return cluster


def write(
    session: Session,
    cluster: Cluster | None,
    spec: ClusterRegistration,
    connection: Connection,
    cipher: Cipher,
    now: datetime,
) -> Cluster:
    """Add a cluster, or change this row of it. The caller flushes. Raises InvalidInputError with all problems."""
    _require_valid(spec)
    sealed = cipher.seal(connection)
    if cluster is None:
        cluster = Cluster(name=spec.name, connection_kind=connection.kind, connection=sealed, created_at=now)
    else:
        cluster.connection_kind, cluster.connection = connection.kind, sealed
        cluster.connection_version += 1
        cluster.failures, cluster.open_until, cluster.trial_until = 0, None, None  # those of the old connection
    cluster.labels, cluster.pool = dict(spec.labels), spec.pool
    cluster.namespace, cluster.max_in_flight = spec.namespace, spec.max_in_flight
    session.add(cluster)
    return cluster


def get(session: Session, name: str, *, for_update: bool = False) -> Cluster:
    """A cluster; with `for_update`, its row is locked. Raises NotFoundError with the nearest name."""
    cluster = session.get(Cluster, name, with_for_update=for_update or None)
    if cluster is None:
        known = session.exec(select(Cluster.name)).all()
        raise NotFoundError(f"there is no cluster {name!r}.{nearest(name, known)}")
    return cluster


def find(session: Session, selector: Selector | None = None) -> list[Cluster]:
    """The clusters whose labels match (default: all), by name."""
    clusters = session.exec(select(Cluster).order_by(col(Cluster.name))).all()
    return [cluster for cluster in clusters if selector is None or selector.matches(cluster.labels)]


def set_labels(session: Session, name: str, labels: Mapping[str, str]) -> Cluster:
    """Replace all labels of a cluster."""
    problems = _label_problems(labels)
    if problems:
        raise InvalidInputError(f"cluster {name!r}: {'; '.join(problems)}")
    cluster = get(session, name)
    cluster.labels = dict(labels)
    session.add(cluster)
    session.flush()
    return cluster


def cordon(session: Session, name: str, reason: str, now: datetime) -> Cluster:
    """Put a cluster into maintenance: no runs, no alerts. Repeated, it keeps the first time and sets the reason."""
    cluster = get(session, name)
    cluster.cordoned_at = cluster.cordoned_at or now
    cluster.cordon_reason = reason
    session.add(cluster)
    session.flush()
    return cluster


def uncordon(session: Session, name: str) -> Cluster:
    """End a cluster's maintenance."""
    cluster = get(session, name)
    cluster.cordoned_at, cluster.cordon_reason = None, ""
    session.add(cluster)
    session.flush()
    return cluster


def remove(session: Session, name: str) -> None:
    """Remove a cluster and its schedules. Its open runs stay and expire as unknown."""
    get(session, name, for_update=True)  # before its nodes, as the collector that writes them
    remove_locked(session, [name])


def remove_locked(session: Session, names: Sequence[str]) -> None:
    """Remove clusters whose rows are locked, with their schedules."""
    session.flush()
    for chunk in chunked(names):
        session.exec(delete(Schedule).where(col(Schedule.cluster).in_(chunk)))
        session.exec(delete(Node).where(col(Node.cluster).in_(chunk)))
        session.exec(delete(Cluster).where(col(Cluster.name).in_(chunk)))


def _require_valid(spec: ClusterRegistration) -> None:
    if problems := _problems(spec):
        raise InvalidInputError(f"cluster {spec.name!r}: {'; '.join(problems)}")


def _problems(spec: ClusterRegistration) -> list[str]:
    named = {"name": spec.name, "pool": spec.pool, "namespace": spec.namespace}
    problems = [f"{what}: {problem}" for what, name in named.items() if (problem := name_problem(name))]
    if spec.max_in_flight < 1:
        problems.append(f"max_in_flight: {spec.max_in_flight} is too small; expected at least 1")
    return problems + _label_problems(spec.labels)


def _label_problems(labels: Mapping[str, str]) -> list[str]:
    found = (key_problem(key) or value_problem(value) for key, value in labels.items())
    return [f"labels: {problem}" for problem in found if problem]
