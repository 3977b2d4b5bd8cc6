"""The connections of declared clusters: read from their kubeconfigs, compared with the encrypted ones in the store."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from sqlalchemy import select
from sqlmodel import Session, col

from kubeprobe.catalog.changes import Action, FieldChange, ItemChange
from kubeprobe.catalog.model import ClusterSpec
from kubeprobe.catalog.parse import Declaration, Entry
from kubeprobe.catalog.problems import CatalogError, CatalogProblem
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.credentials import (
    Cipher,
    Connection,
    ReadKubeconfig,
    SecretKeyError,
    from_kubeconfig,
    in_cluster,
    local,
)
from kubeprobe.fleet.files import expand_home
from kubeprobe.fleet.kubeconfig import read_kubeconfig
from kubeprobe.store import Cluster

_CONNECTION = "spec.connection"
_NAMES_AT_ONCE = 500
_KEPT_FILES = 16
"""Kubeconfigs that are kept while the connections of a catalog are read."""
_RENEWED = FieldChange(f"{_CONNECTION} (credentials)", "as stored", "as in the kubeconfig now")


@dataclass(frozen=True)
class Connector:
    """Reads the connections of declared clusters."""

    cipher: Cipher
    local_kubeconfig: Path
    """Kubeconfig of the local cluster, which need not run yet."""

    def connect(self, entry: Entry, read: ReadKubeconfig = read_kubeconfig) -> Connection:
        """The connection of a declared cluster. Raises InvalidInputError if its kubeconfig is unusable."""
        assert isinstance(entry.spec, ClusterSpec)
        source = entry.spec.connection.kubeconfig
        if source is not None:
            return from_kubeconfig(entry.folder / expand_home(Path(source.file)), source.context, read)
        return local(self.local_kubeconfig) if entry.spec.connection.local else in_cluster()


def connect_all(declaration: Declaration, connector: Connector) -> dict[str, Connection]:
    """The connections of all declared clusters by name. Raises CatalogError with every one that is unusable."""
    found: dict[str, Connection] = {}
    problems = []
    read = lru_cache(maxsize=_KEPT_FILES)(read_kubeconfig)  # a file may have the contexts of a thousand clusters
    for (kind, name), entry in declaration.entries.items():
        if kind != "Cluster":
            continue
        try:
            found[name] = connector.connect(entry, read)
        except InvalidInputError as error:
            file, _, line = entry.origin.rpartition(":")
            problems.append(CatalogProblem(file, int(line), f"Cluster/{name}", _CONNECTION, str(error)))
    if problems:
        raise CatalogError(problems)
    return found


@dataclass(frozen=True)
class _PreparedConnector(Connector):
    """A connector that has read all connections."""

    connections: Mapping[str, Connection] = field(default_factory=dict, repr=False)

    def connect(self, entry: Entry, read: ReadKubeconfig = read_kubeconfig) -> Connection:  # noqa: ARG002 - read before
        return self.connections[entry.name]


def prepare_connections(declaration: Declaration, connector: Connector) -> Connector:
    """A connector for this declaration that reads no more files: for `apply`, in a transaction that ends soon.

    Raises CatalogError with every connection that is unusable.
    """
    return _PreparedConnector(connector.cipher, connector.local_kubeconfig, connect_all(declaration, connector))


def renewed_clusters(session: Session, connections: Mapping[str, Connection], cipher: Cipher) -> frozenset[str]:
    """The clusters whose connection differs from the stored one, or is not stored yet."""
    names, stored = sorted(connections), dict[str, bytes]()
    for start in range(0, len(names), _NAMES_AT_ONCE):  # those of other clusters may be many megabytes
        wanted = col(Cluster.name).in_(names[start : start + _NAMES_AT_ONCE])
        stored.update(dict(session.execute(select(col(Cluster.name), col(Cluster.connection)).where(wanted)).all()))
    return frozenset(
        name
        for name, connection in connections.items()
        if name not in stored or not _decrypts_to(stored[name], connection, cipher)
    )


def write_cluster(
    session: Session,
    entry: Entry,
    row: Cluster | None,
    renewed: Connection | None,
    connector: Connector,
    now: datetime,
) -> Cluster:
    """Add or update a declared cluster, whose present row is given. The caller flushes.

    Only a renewed connection makes processes reopen their clients.
    """
    spec = entry.spec
    assert isinstance(spec, ClusterSpec)
    if renewed is not None:
        registration = clusters.ClusterRegistration(
            entry.name, spec.labels, spec.pool, spec.namespace, spec.limits.pods
        )
        row = clusters.write(session, row, registration, renewed, connector.cipher, now)
    else:
        assert row is not None
        row.labels, row.pool = dict(spec.labels), spec.pool
        row.namespace, row.max_in_flight = spec.namespace, spec.limits.pods
    row.spec = spec.as_json()
    session.add(row)
    return row


def read_clusters(session: Session, names: Iterable[str]) -> list[Cluster]:
    """The rows of these clusters, some hundred at a time."""
    found, wanted = list[Cluster](), sorted(names)
    for start in range(0, len(wanted), _NAMES_AT_ONCE):
        named = col(Cluster.name).in_(wanted[start : start + _NAMES_AT_ONCE])
        found += session.execute(select(Cluster).where(named)).scalars()
    return found


def mark_renewed(items: Sequence[ItemChange], renewed: frozenset[str]) -> list[ItemChange]:
    """The items, in which a cluster with new credentials counts as changed even if its spec is the same."""
    return [
        replace(item, action=Action.CHANGED, fields=(_RENEWED,))
        if item.kind == "Cluster" and item.action is Action.UNCHANGED and item.name in renewed
        else item
        for item in items
    ]


def _decrypts_to(sealed: bytes, connection: Connection, cipher: Cipher) -> bool:
    try:
        return cipher.open(sealed) == connection
    except SecretKeyError:
        return False
