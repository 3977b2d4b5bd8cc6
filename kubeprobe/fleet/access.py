"""Access to a cluster: server, credentials and TLS of a connection, as they are when a request is sent.

Credentials that change (token files, exec plugins, the embedded cluster's kubeconfig) are read again when
they expire, when the cluster answers 401, or when it cannot be reached. Nothing is kept in files or in
any global configuration. Next: `fleet.transport` sends requests with it.
"""

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import InvalidInputError, KubeProbeError
from kubeprobe.fleet.credentials import Connection, ConnectionKind
from kubeprobe.fleet.execplugin import PluginCredentials, PluginError, run_plugin
from kubeprobe.fleet.kubeconfig import cluster_of, flatten, read_kubeconfig, user_of

TOKEN_FILE_AGE = timedelta(minutes=1)
"""After so long a token file is read again (client-go's period)."""
EXPIRY_MARGIN = timedelta(seconds=10)
"""The plugin is run again so long before its credentials expire."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(KubeProbeError):
    """No credentials can be loaded from this connection now."""


@dataclass(frozen=True)
class Access:
    """What a request needs besides its path."""

    server: str
    ssl: ssl.SSLContext | bool
    authorization: str | None = field(repr=False)
    fresh_until: datetime | None
    """None: until a 401."""
    server_hostname: str | None = None
    proxy: str | None = None
    address_changes: bool = False
    """The server's address is read again when it cannot be reached."""


@dataclass(frozen=True)
class _Tls:
    """The contents of a TLS context (PEM)."""

    authority: str | None
    verify: bool
    certificate: str | None = field(repr=False)
    key: str | None = field(repr=False)


class AccessSource:
    """The access of one connection, loaded at first use and when it is no longer valid.

    `connect` decrypts the connection at each load, so that no other secret than the access stays in memory.
    """

    def __init__(
        self, connect: Callable[[], Connection], clock: Clock = utc_now, service_account: Path = _SERVICE_ACCOUNT
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._service_account = service_account
        self._lock = asyncio.Lock()
        self._access: Access | None = None
        self._tls: tuple[_Tls, ssl.SSLContext] | None = None

    async def current(self) -> Access:
        """The access for a request sent now. Raises AccessError, or SecretKeyError if it cannot be decrypted."""
        async with self._lock:  # of concurrent requests, one loads it
            if self._access is None or self._is_expired(self._access):
                self._access = await self._load()
            return self._access

    def discard(self, access: Access) -> None:
        """After a 401: the next `current` loads a new one."""
        if self._access is access:
            self._access = None

    def discard_address(self, access: Access) -> None:
        """After a failed connection: the embedded cluster may listen on another port now."""
        if access.address_changes:
            self.discard(access)

    def _is_expired(self, access: Access) -> bool:
        return access.fresh_until is not None and self._clock() >= access.fresh_until

    async def _load(self) -> Access:
        connection = self._connect()
        try:
            match connection.kind:
                case ConnectionKind.KUBECONFIG:
                    return await self._from_kubeconfig(connection.config)
                case ConnectionKind.LOCAL:
                    return replace(await self._from_kubeconfig(_read_local(connection)), address_changes=True)
                case ConnectionKind.IN_CLUSTER:
                    return self._from_service_account()
        except (InvalidInputError, PluginError, OSError) as error:  # ssl.SSLError is an OSError
            raise AccessError(f"no credentials: {error}") from error

    async def _from_kubeconfig(self, config: dict[str, Any]) -> Access:
        cluster, user = cluster_of(config), user_of(config)
        token, fresh_until = user.get("token"), None
        plugin: PluginCredentials | None = None
        if user.get("exec"):
            plugin = await run_plugin(user["exec"], cluster)
            token = plugin.token
            fresh_until = plugin.expires_at - EXPIRY_MARGIN if plugin.expires_at else None
        elif user.get("tokenFile"):
            token, fresh_until = _read_token(Path(user["tokenFile"])), self._clock() + TOKEN_FILE_AGE
        return Access(
            server=cluster["server"].rstrip("/"),
            ssl=self._context(_tls(cluster, user, plugin)) if cluster["server"].startswith("https") else True,
            server_hostname=cluster.get("tls-server-name"),
            proxy=cluster.get("proxy-url"),
            authorization=_authorization(user, token),
            fresh_until=fresh_until,
        )

    def _from_service_account(self) -> Access:
        """https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise InvalidInputError("KubeProbe is not running in a pod (KUBERNETES_SERVICE_HOST is not set)")
        authority = (self._service_account / "ca.crt").read_text()
        return Access(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ssl=self._context(_Tls(authority, verify=True, certificate=None, key=None)),
            authorization=f"Bearer {_read_token(self._service_account / 'token')}",
            fresh_until=self._clock() + TOKEN_FILE_AGE,
        )

    def _context(self, tls: _Tls) -> ssl.SSLContext:
        """The same context while the certificates are the same: aiohttp pools connections by it."""
        if self._tls is None or self._tls[0] != tls:
            self._tls = (tls, _make_context(tls))
        return self._tls[1]


def _read_local(connection: Connection) -> dict[str, Any]:
    path = Path(connection.config["path"])
    if not path.exists():
        raise InvalidInputError(f"{path} does not exist: the local cluster is not running; start it with kubeprobe up")
    return flatten(read_kubeconfig(path), path.parent)


def _read_token(path: Path) -> str:
    token = path.read_text().strip()
    if not token or not token.isprintable():
        raise InvalidInputError(f"the token file {path} is invalid; expected one line of text")
    return token


def _authorization(user: dict[str, Any], token: str | None) -> str | None:
    if token:
        return f"Bearer {token}"
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None


def _tls(cluster: dict[str, Any], user: dict[str, Any], plugin: PluginCredentials | None) -> _Tls:
    certificate, key = _decode(user.get("client-certificate-data")), _decode(user.get("client-key-data"))
    if plugin and plugin.certificate:
        certificate, key = plugin.certificate, plugin.key
    return _Tls(
        authority=_decode(cluster.get("certificate-authority-data")),
        verify=not cluster.get("insecure-skip-tls-verify"),
        certificate=certificate,
        key=key,
    )


def _decode(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None


def _make_context(tls: _Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=tls.authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # on by default from Python 3.13; kubectl accepts such authorities
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate and tls.key:
        # OpenSSL reads a certificate from a file only: one that only we can read, deleted right after.
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{tls.certificate}\n{tls.key}\n")
            file.flush()
            context.load_cert_chain(file.name)
    return context
