"""The connection of a cluster: made when the cluster is added, stored encrypted, decrypted only by `fleet.api`.

Three kinds of connection. `kubeconfig`: one context of a kubeconfig, made self-contained (`fleet.kubeconfig`).
`in-cluster`: the service account of the pod that KubeProbe runs in. `local`: the kubeconfig of the embedded
cluster, a path that is read at each use because its port changes. Next: `fleet.access` loads from a connection
what a request needs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
from cryptography.fernet import InvalidToken

from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet.keys import KEY_FILE, Keys, KeySetting, keys_from
from kubeprobe.fleet.kubeconfig import flatten, read_kubeconfig
from kubeprobe.settings import Settings

ReadKubeconfig = Callable[[Path], dict[str, Any]]


class ConnectionKind(StrEnum):
    """Where the credentials come from."""

    KUBECONFIG = "kubeconfig"
    IN_CLUSTER = "in-cluster"
    LOCAL = "local"


class SecretKeyError(KubeProbeError):
    """The secret key is not the one that the values were encrypted with."""


@dataclass(frozen=True)
class Connection:
    """How a cluster is reached. `config` holds secrets and is never printed."""

    kind: ConnectionKind
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    """kubeconfig: a self-contained kubeconfig; local: `{"path": FILE}`; in-cluster: empty."""


def from_kubeconfig(path: Path, context: str | None = None, read: ReadKubeconfig = read_kubeconfig) -> Connection:
    """The connection of a kubeconfig's context (default: its current one), certificates included.

    A token file and an exec plugin stay references: they are read when they are needed. `read` may keep what it has
    read, for many contexts of one file. Raises InvalidInputError.
    """
    return Connection(ConnectionKind.KUBECONFIG, flatten(read(path), path.parent, context))


def in_cluster() -> Connection:
    """The connection of the pod that KubeProbe itself runs in."""
    return Connection(ConnectionKind.IN_CLUSTER)


def local(path: Path) -> Connection:
    """The connection of the embedded cluster whose kubeconfig is at `path`; it need not run yet."""
    return Connection(ConnectionKind.LOCAL, {"path": str(path.absolute())})


class Cipher:
    """Encrypts credentials for the store (Fernet: AES-128-CBC and HMAC-SHA256)."""

    def __init__(self, keys: str | Keys) -> None:
        self.keys = KeySetting(keys) if isinstance(keys, str) else keys

    @classmethod
    def from_settings(cls, settings: Settings) -> "Cipher":
        """With the keys of the settings, else of data_dir/secret.key, which is created if missing."""
        cipher = cls(keys_from(settings))
        cipher.keys.read()  # an invalid key is an error at the start
        return cipher

    def seal(self, connection: Connection) -> bytes:
        """The connection, encrypted for the store."""
        return self.seal_values({"kind": connection.kind, "config": connection.config})

    def open(self, sealed: bytes) -> Connection:
        """The stored connection. Raises SecretKeyError if it was encrypted with another key."""
        found = self.open_values(sealed, "the stored connection", "add the cluster again with its kubeconfig")
        return Connection(ConnectionKind(found["kind"]), found["config"])

    def seal_values(self, values: dict[str, Any]) -> bytes:
        """JSON values, encrypted for the store."""
        return self.keys.read().encrypt(orjson.dumps(values))

    def open_values(self, sealed: bytes, what: str, otherwise: str) -> dict[str, Any]:
        """The stored values. Raises SecretKeyError with `what` they are and what to do `otherwise`, without the key."""
        try:
            found: dict[str, Any] = orjson.loads(self.keys.read().decrypt(sealed))
        except InvalidToken as error:
            raise SecretKeyError(
                f"{what} was encrypted with another key: set KUBEPROBE_SECRET_KEY (or put back "
                f"data_dir/{KEY_FILE}), or {otherwise}"
            ) from error
        return found
