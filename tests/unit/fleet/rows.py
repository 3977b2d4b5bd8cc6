"""Rows of clusters, made without a kubeconfig file."""

from datetime import UTC, datetime
from typing import Any

from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind
from kubeprobe.store import Cluster

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def connection_to(server: str, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Connection:
    """A kubeconfig connection; `cluster` and `user` are the rest of its two entries."""
    config = {
        "clusters": [{"name": "cluster", "cluster": {"server": server} | (cluster or {})}],
        "users": [{"name": "cluster", "user": user or {}}],
    }
    return Connection(ConnectionKind.KUBECONFIG, config)


def cluster_row(cipher: Cipher, connection: Connection, name: str = "c", version: int = 1) -> Cluster:
    """The row of a cluster with a connection."""
    return Cluster(
        name=name,
        connection_kind=connection.kind,
        connection=cipher.seal(connection),
        connection_version=version,
        created_at=NOW,
    )
