"""Access to a cluster: server, credentials and TLS of a connection, as they are when a request is sent.

Credentials that change (token files, exec plugins, the embedded cluster's kubeconfig) are read again when
they expire, when the cluster answers 401, or when it cannot be reached. Nothing is kept in files or in
any global configuration. Next: `fleet.transport` sends requests with it.
"""

import asyncio
import base64
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubeprobe.backoff import Backoff
from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import InvalidInputError, KubeProbeError
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.credentials import Connection, ConnectionKind, SecretKeyError
from kubeprobe.fleet.errors import LocalResourceError, QueueTimeoutError
from kubeprobe.fleet.execplugin import PluginCredentials, PluginError
from kubeprobe.fleet.files import read_regular_file
from kubeprobe.fleet.kubeconfig import flatten, header_problem, is_loopback, read_cluster, read_kubeconfig, read_user
from kubeprobe.fleet.kubeconfig_model import ClusterFields, ExecFields, UserFields
from kubeprobe.fleet.plugincache import EXPIRY_MARGIN, PLUGINS, PluginCache
from kubeprobe.fleet.tls import client_context, load_client_certificate

TOKEN_FILE_AGE = timedelta(minutes=1)
"""After so long a token file is read again (client-go's period)."""
LOAD_TIMEOUT_S = 5.0
"""Reading one file of a connection: the secret key, a token, certificates, the local cluster's kubeconfig."""
ACCESS_TIMEOUT_S = 15.0
"""How long requests wait for credentials, from when their loading began. It goes on, for later requests."""
SLOW_FAILURE = timedelta(seconds=1)
FAILURE_BACKOFF = Backoff(first=timedelta(seconds=5), longest=timedelta(minutes=5))
"""How long a failure that took longer than `SLOW_FAILURE` is returned again, so that few requests wait for the next."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TLS_TIMEOUT_S = 60.0
"""Making a TLS context, with the wait for others that are made: the system's authorities take 20 ms."""
_FILES: BlockingCalls[Any] = BlockingCalls("cluster-files", limit=16, slow_limit=64)
_CONTEXTS: BlockingCalls[ssl.SSLContext] = BlockingCalls("cluster-tls", limit=2, slow_limit=2)
_HEADER_CHARACTERS = "!#$&'*+^`|"
"""Characters of a header's name (RFC 9110) that `quote` would escape; client-go escapes `%` as well."""


class AccessError(KubeProbeError):
    """No credentials can be loaded from this connection now."""


@dataclass(frozen=True)
class _Plugin:
    """The exec plugin that an access came from."""

    plugin: ExecFields
    cluster: ClusterFields
    credentials: PluginCredentials


@dataclass(frozen=True)
class Access:
    """What a request needs besides its path."""

    server: str
    ssl: ssl.SSLContext | bool
    authorization: str | None = field(repr=False)
    fresh_until: datetime | None
    """None: until a 401."""
    server_hostname: str | None = None
    proxy: str | None = field(default=None, repr=False)
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers."""
    compresses: bool = True
    """Responses may be compressed."""
    address_changes: bool = False
    """The server's address is read again when it cannot be reached."""
    plugin: _Plugin | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Tls:
    """The contents of a TLS context (PEM)."""

    authority: str | None
    verify: bool
    certificate: str | None = field(repr=False)
    key: str | None = field(repr=False)
    server_hostname: str | None = None

    @property
    def uses_system_authorities(self) -> bool:
        """Reading those takes long: clusters share the context, and so connections to the same address and name."""
        return self.verify and not self.authority and not self.certificate


class AccessSource:
    """The access of one connection, loaded at first use and when it is no longer valid.

    `connect` decrypts the connection at each load, so that no other secret than the access stays in memory. Keys and
    files are read, and plugins run, outside of the event loop and of its executor.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        clock: Clock = utc_now,
        service_account: Path = _SERVICE_ACCOUNT,
        plugins: PluginCache = PLUGINS,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._service_account = service_account
        self._plugins = plugins
        self._loading: asyncio.Task[Access] | None = None
        self._began = clock()
        """When the last load began."""
        self._slow_failures = 0
        self._failure: tuple[datetime, str] | None = None
        """Until when the last failure is returned again."""
        self._key = object()
        """Of calls that read files: it keeps nothing alive."""
        self._access: Access | None = None
        self._tls: tuple[_Tls, ssl.SSLContext] | None = None

    async def current(self) -> Access:
        """The access for a request sent now. Raises AccessError; LocalResourceError: KubeProbe has no thread for it."""
        if self._access is not None and not self._is_expired(self._access):
            return self._access
        now = self._clock()
        if self._failure is not None and now < self._failure[0]:
            raise AccessError(self._failure[1])
        if self._loading is None:  # of concurrent requests, one loads it
            self._began = now
            self._loading = asyncio.create_task(self._load_access(), name="cluster access")
            self._loading.add_done_callback(self._note_end)
        loading, left = self._loading, ACCESS_TIMEOUT_S - (now - self._began).total_seconds()
        await asyncio.wait((loading,), timeout=max(0.0, left))
        if not loading.done():
            raise AccessError(f"no credentials: they were not loaded within {ACCESS_TIMEOUT_S:g} s")
        if loading.cancelled():
            raise AccessError("no credentials: the connection of the cluster was replaced or removed")
        return loading.result()

    async def close(self) -> None:
        """End a load that is under way."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait((self._loading,))

    def discard(self, access: Access) -> None:
        """After a 401: the next `current` loads a new one."""
        if self._access is access:
            self._access = None
            if access.plugin is not None:
                found = access.plugin
                self._plugins.discard(found.plugin, found.cluster, found.credentials, self._clock())

    def discard_address(self, access: Access) -> None:
        """After a failed connection: the embedded cluster may listen on another port now."""
        if access.address_changes and self._access is access:
            self._access = None

    def _is_expired(self, access: Access) -> bool:
        return access.fresh_until is not None and self._clock() >= access.fresh_until

    def _note_end(self, loading: asyncio.Task[Access]) -> None:
        """Keep the access. Keep a failure only if it took long: what fails at once may be fixed at once.

        A lack of threads is not kept: it says nothing about this connection.
        """
        self._loading = None
        if loading.cancelled():
            return
        if (error := loading.exception()) is None:
            self._access, self._failure, self._slow_failures = loading.result(), None, 0
            return
        now = self._clock()
        if now - self._began > SLOW_FAILURE and not isinstance(error, LocalResourceError):
            self._slow_failures += 1
            self._failure = now + FAILURE_BACKOFF.pause(self._slow_failures), str(error)

    async def _load_access(self) -> Access:
        try:
            connection: Connection = await self._read("secret key", self._connect)
            match connection.kind:
                case ConnectionKind.KUBECONFIG:
                    return await self._from_kubeconfig(connection.config)
                case ConnectionKind.LOCAL:
                    config = await self._read("kubeconfig", partial(_read_local, connection))
                    return replace(await self._from_kubeconfig(config), address_changes=True)
                case ConnectionKind.IN_CLUSTER:
                    return await self._from_service_account()
        except LocalResourceError:
            raise
        except SecretKeyError as error:
            raise AccessError(str(error)) from error
        except (InvalidInputError, PluginError, OSError) as error:  # ssl.SSLError is an OSError
            raise AccessError(f"no credentials: {error}") from error
        except (LookupError, TypeError, ValueError) as error:
            message = f"the stored connection is invalid in this version of KubeProbe ({type(error).__name__})"
            raise AccessError(f"no credentials: {message}; add the cluster again with its kubeconfig") from error

    async def _read(self, what: str, work: Callable[[], Any]) -> Any:
        """What `work` returns, in a thread: files may be on a network file system that does not respond."""
        try:
            return await _FILES.run((self._key, what), work, LOAD_TIMEOUT_S)
        except QueueTimeoutError:
            raise
        except TimeoutError:
            raise InvalidInputError(f"its {what} was not read within {LOAD_TIMEOUT_S:g} s") from None

    async def _from_kubeconfig(self, config: dict[str, Any]) -> Access:
        cluster, user = read_cluster(config), read_user(config)
        found: _Plugin | None = None
        if user.exec and not (user.token or user.token_file or user.username or user.client_certificate_data):
            found = _Plugin(user.exec, cluster, await self._plugins.get(user.exec, cluster, self._clock))
        plugin = found.credentials if found else None
        token = plugin.token if plugin else user.token
        fresh_until = plugin.expires_at - EXPIRY_MARGIN if plugin and plugin.expires_at else None
        is_https = cluster.server.lower().startswith("https:")
        sends_credentials = is_https or is_loopback(cluster.server)  # kubectl sends none over plain HTTP
        if user.token_file and sends_credentials:
            token = await self._read("token file", partial(_read_rotated_token, user))
            fresh_until = self._clock() + TOKEN_FILE_AGE
        return Access(
            server=cluster.server.rstrip("/"),
            ssl=await self._context(_tls(cluster, user, plugin)) if is_https else True,
            server_hostname=cluster.tls_server_name or None,
            proxy=cluster.proxy_url or None,
            authorization=_authorization(user, token) if sends_credentials else None,
            impersonation=impersonation_headers(user),
            compresses=not cluster.disable_compression,
            fresh_until=fresh_until,
            plugin=found,
        )

    async def _from_service_account(self) -> Access:
        """https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise InvalidInputError("KubeProbe is not running in a pod (KUBERNETES_SERVICE_HOST is not set)")
        folder = self._service_account
        authority = await self._read("ca.crt", partial(_read_text, folder / "ca.crt", "authority"))
        token = await self._read("token", partial(_read_token, folder / "token"))
        return Access(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ssl=await self._context(_Tls(authority, verify=True, certificate=None, key=None)),
            authorization=f"Bearer {token}",
            fresh_until=self._clock() + TOKEN_FILE_AGE,
        )

    async def _context(self, tls: _Tls) -> ssl.SSLContext:
        """The same context while the certificates are the same: aiohttp pools connections by it."""
        if self._tls is None or self._tls[0] != tls:
            # Not `self._key`: a call for earlier certificates may still run, and would return their context.
            key = tls.server_hostname if tls.uses_system_authorities else object()
            try:
                self._tls = (tls, await _CONTEXTS.run(key, partial(_make_context, tls), TLS_TIMEOUT_S))
            except QueueTimeoutError:
                raise
            except TimeoutError:
                raise InvalidInputError(f"its TLS context was not made within {TLS_TIMEOUT_S:g} s") from None
        return self._tls[1]


def _read_local(connection: Connection) -> dict[str, Any]:
    path = Path(connection.config["path"])
    if not path.exists():
        raise InvalidInputError(f"{path} does not exist: the local cluster is not running; start it with kubeprobe up")
    return flatten(read_kubeconfig(path), path.parent)


def _read_rotated_token(user: UserFields) -> str:
    """As kubectl: the token of the file, or if it cannot be read, the one of the kubeconfig."""
    try:
        return _read_token(Path(user.token_file))
    except InvalidInputError:
        if user.token:
            return user.token
        raise


def _read_token(path: Path) -> str:
    token = _read_text(path, "token").strip()
    if not token or header_problem(token):
        raise InvalidInputError(f"the token file {path} is invalid; expected one line of text")
    return token


def _read_text(path: Path, what: str) -> str:
    try:
        return read_regular_file(path).decode()
    except (InvalidInputError, UnicodeDecodeError) as error:
        problem = "is not text" if isinstance(error, UnicodeDecodeError) else error
        raise InvalidInputError(f"the {what} file {path} {problem}") from None


def _authorization(user: UserFields, token: str | None) -> str | None:
    if token:
        return f"Bearer {token}"
    if user.username:
        pair = f"{user.username}:{user.password}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return None


def impersonation_headers(user: UserFields) -> tuple[tuple[str, str], ...]:
    """Headers that make a request another user's; a name may occur more than once.

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
    """
    if not user.impersonate:
        return ()
    extra = (
        (f"Impersonate-Extra-{quote(key, safe=_HEADER_CHARACTERS)}", value)
        for key, values in user.impersonate_extra.items()
        for value in values
    )
    uid = [("Impersonate-Uid", user.impersonate_uid)] if user.impersonate_uid else []
    groups = (("Impersonate-Group", group) for group in user.impersonate_groups)
    return (("Impersonate-User", user.impersonate), *uid, *groups, *extra)


def _tls(cluster: ClusterFields, user: UserFields, plugin: PluginCredentials | None) -> _Tls:
    certificate, key = user.client_certificate_data.decode() or None, user.client_key_data.decode() or None
    if plugin and plugin.certificate:
        certificate, key = plugin.certificate, plugin.key
    return _Tls(
        authority=cluster.certificate_authority_data.decode() or None,
        verify=not cluster.insecure_skip_tls_verify,
        certificate=certificate,
        key=key,
        server_hostname=cluster.tls_server_name or None,
    )


@lru_cache(maxsize=64)
def _system_context(server_hostname: str | None) -> ssl.SSLContext:
    """One for each name, as aiohttp's pool of connections does not distinguish names."""
    del server_hostname
    return client_context()


def _make_context(tls: _Tls) -> ssl.SSLContext:
    if tls.uses_system_authorities:
        return _system_context(tls.server_hostname)
    context = client_context(tls.authority, verify=tls.verify)
    if tls.certificate and tls.key:
        load_client_certificate(context, tls.certificate, tls.key)
    return context
