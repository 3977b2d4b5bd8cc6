"""The client of a cluster's Kubernetes API: KubeProbe sends every request through it.

JSON stays raw (typed models cost 2 to 20 times more). A `ClusterClients` and its clients belong to one running event
loop. Next stage: `execution` creates, watches and deletes pods with it.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import orjson

from kubeprobe.clock import Clock, utc_now
from kubeprobe.fleet.access import AccessSource
from kubeprobe.fleet.credentials import Cipher, ConnectionKind
from kubeprobe.fleet.errors import Cause, ClusterError, cluster_error
from kubeprobe.fleet.kubeconfig import cluster_of
from kubeprobe.fleet.translation import from_status
from kubeprobe.fleet.transport import Request, Response, Transport, open_session
from kubeprobe.store import Cluster
from kubeprobe.vocabulary import PROBE_CONTAINER

WATCH_SILENCE_S = 60.0
"""A watch that is silent for so long has failed. Its `timeoutSeconds` is shorter, so that the server ends it before."""
LOG_SILENCE_S = 600.0
LOG_LIMIT_BYTES = 1_000_000
NODES_PATH = "/api/v1/nodes"
_PAGE = "500"
PAGES_LIMIT = 1000
"""Pages of a list: half a million objects."""
IDLE_AFTER = timedelta(minutes=15)
"""A client that has sent nothing for so long is closed: longer than any wait for a response."""


def pods_path(namespace: str, name: str = "") -> str:
    """The path of a namespace's pods, or of one of them."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    return f"{path}/{name}" if name else path


class ClusterApi:
    """One cluster's API. Every method raises ClusterError (`fleet.errors`) only."""

    def __init__(self, cluster: str, transport: Transport) -> None:
        self.cluster = cluster
        self._transport = transport

    @property
    def clock_offset(self) -> timedelta:
        """To be added to our time to get the cluster's (`fleet.serverclock`)."""
        return self._transport.clock.offset

    async def load_credentials(self) -> None:
        """Load the credentials if they are not loaded: requests sent now do not wait for them."""
        await self._transport.load_credentials()

    async def create_pod(self, namespace: str, pod: dict[str, Any]) -> dict[str, Any]:
        """Create a pod and return it as stored. AlreadyExists: the name is taken, perhaps by our own pod.

        Strict: a field that this cluster's version does not have is an error, and not dropped (from Kubernetes 1.25).
        """
        return await self.call("POST", pods_path(namespace), query={"fieldValidation": "Strict"}, body=pod)

    async def get_pod(self, namespace: str, name: str) -> dict[str, Any]:
        """A pod. Raises NotFound."""
        return await self.call("GET", pods_path(namespace, name))

    async def delete_pod(self, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """Delete the pod with this UID; not an error if it, or the name, belongs to no pod or to another one.

        `grace_s`: seconds between SIGTERM and SIGKILL; None: the pod's own.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            await self.call("DELETE", pods_path(namespace, name), body=options)
        except ClusterError as error:
            if error.cause not in {Cause.NOT_FOUND, Cause.CONFLICT}:
                raise

    async def list_objects(self, path: str, selector: str = "") -> tuple[list[Any], str]:
        """All objects of a resource path that match a label selector, and the resource version to watch from.

        Each as the cluster sent it: `object_problem` says what is wrong with one.
        """
        items: list[Any] = []
        query = {"limit": _PAGE, **_selected(selector)}
        for _ in range(PAGES_LIMIT):
            request = Request("GET", path, query)
            page = await self._json(request)
            metadata, found = page.get("metadata"), page.get("items") or []
            if not isinstance(metadata, dict) or not isinstance(found, list):
                raise self._foreign(request, "is not a list of objects")
            items += found
            following, version = metadata.get("continue"), metadata.get("resourceVersion")
            if not following:
                return items, str(version or "")
            query = query | {"continue": str(following)}
        raise self._foreign(Request("GET", path, query), f"has more than {PAGES_LIMIT} pages")

    async def watch_objects(
        self, path: str, selector: str, resource_version: str, silence_s: float = WATCH_SILENCE_S
    ) -> AsyncGenerator[tuple[str, Any], None]:
        """Changes since a resource version: (ADDED | MODIFIED | DELETED | BOOKMARK, object). See `fleet.reflector`.

        Ends when the server ends it, which it does before `silence_s` is over: watch again from the last resource
        version. Raises Gone when that is too old, ClusterUnreachable when the connection broke or was silent for
        `silence_s`. A caller that leaves it early closes it (`contextlib.aclosing`).
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(silence_s * 5 / 6))),
            **_selected(selector),
        }
        request = Request("GET", path, query)
        async with aclosing(self._transport.stream(request, silence_s)) as lines:
            async for line in lines:
                if line:
                    yield parse_event(line, self._transport.where(request))

    async def read_log(
        self, namespace: str, name: str, tail_lines: int | None = None, container: str = PROBE_CONTAINER
    ) -> str:
        """The last lines of a container's log, at most a megabyte."""
        query = {"container": container, "limitBytes": str(LOG_LIMIT_BYTES)}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        request = Request("GET", f"{pods_path(namespace, name)}/log", query)
        response = await self._transport.send(request, 2 * LOG_LIMIT_BYTES)  # a server may send a little too much
        return response.data.decode(errors="replace")

    async def follow_log(
        self, namespace: str, name: str, container: str = PROBE_CONTAINER, silence_s: float = LOG_SILENCE_S
    ) -> AsyncGenerator[str, None]:
        """The lines of a container's log from the start, as they are written, until the container ends."""
        request = Request("GET", f"{pods_path(namespace, name)}/log", {"container": container, "follow": "true"})
        # A kubelet may send no headers before the first line.
        async with aclosing(self._transport.stream(request, silence_s, open_s=silence_s)) as lines:
            async for line in lines:
                yield line.decode(errors="replace")

    async def version(self) -> str:
        """The version of the API server, e.g. `v1.34.4`."""
        return str((await self.call("GET", "/version")).get("gitVersion") or "unknown")

    async def call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """Any other request: the JSON object of its response."""
        return await self._json(Request(method, path, query or {}, body))

    async def merge_patch(self, path: str, patch: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
        """Merge a patch into an object (RFC 7386); the changed object."""
        return await self._json(Request("PATCH", path, query, patch, content_type="application/merge-patch+json"))

    async def send(self, request: Request) -> Response:
        """Any other request: its response with headers."""
        return await self._transport.send(request)

    def is_idle(self, since: datetime) -> bool:
        """Whether no request was begun since then, and no watch or log is open."""
        return self._transport.is_idle(since)

    async def close(self) -> None:
        """Close its open watches and logs; their readers get ClusterUnreachable."""
        await self._transport.close()

    async def _json(self, request: Request) -> dict[str, Any]:
        response = await self.send(request)
        try:
            found: dict[str, Any] = orjson.loads(response.data)
        except orjson.JSONDecodeError as error:
            raise self._foreign(request, "is not JSON", response.status) from error
        if not isinstance(found, dict):
            raise self._foreign(request, "is not a JSON object", response.status)
        return found

    def _foreign(self, request: Request, problem: str, status: int | None = None) -> ClusterError:
        """The error of a response that is not one of a Kubernetes API."""
        message = f"the response {problem}: check the server address and any proxy before it"
        return cluster_error(Cause.CLUSTER_UNREACHABLE, message, where=self._transport.where(request), status=status)


def object_problem(found: Any) -> str | None:
    """What is wrong with an object of a list or a watch; None if it is identified."""
    metadata = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(metadata, dict):
        return "an object without metadata"
    missing = [key for key in ("name", "uid", "resourceVersion") if not isinstance(metadata.get(key), str)]
    return f"object {str(metadata.get('name'))[:253]!r} without {', '.join(missing)}" if missing else None


def parse_event(line: bytes, where: str = "") -> tuple[str, Any]:
    """The type and the object of a line of a watch, as the cluster sent it: `object_problem` says what is wrong.

    Raises ClusterError: the event has the type ERROR, or is not one.
    """
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        message = "the watch was cut in the middle of an event, or sent what is not JSON"
        raise cluster_error(Cause.CLUSTER_UNREACHABLE, message, where=where) from error
    kind, found = (event.get("type"), event.get("object")) if isinstance(event, dict) else (None, None)
    if kind == "ERROR":
        raise from_status(found if isinstance(found, dict) else {}, where=where)
    if not isinstance(kind, str) or "object" not in event or not (kind != "BOOKMARK" or _version_of(found)):
        message = "the watch sent an event without a type or an object, or a bookmark without a version"
        raise cluster_error(Cause.CLUSTER_UNREACHABLE, message, where=where)
    return kind, found


@dataclass
class _Entry:
    """The client of one version of a connection."""

    version: tuple[datetime, int]
    api: ClusterApi
    sealed: bytes
    """The encrypted connection."""


class ClusterClients:
    """The clients of all clusters, one each, over one session. Belongs to one running loop."""

    def __init__(self, cipher: Cipher, clock: Clock = utc_now) -> None:
        self._cipher = cipher
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None
        self._entries: dict[tuple[str, str], _Entry] = {}
        """By cluster and location."""
        self._checked_at: datetime | None = None
        """When idle clients were last closed."""

    def address(self, cluster: Cluster) -> str:
        """What the cluster's connection leads to, without credentials. Raises SecretKeyError."""
        connection = self._cipher.open(cluster.connection)
        match connection.kind:
            case ConnectionKind.KUBECONFIG:
                found = cluster_of(connection.config)
                return f"{found['server']} {found.get('proxy-url') or ''}"
            case ConnectionKind.LOCAL:
                return f"local {connection.config['path']}"
            case ConnectionKind.IN_CLUSTER:
                return "in-cluster"

    async def get(self, cluster: Cluster, location: str = "") -> ClusterApi:
        """The API of a cluster. Errors in its connection are raised by its requests.

        After a change of the connection, the old client's watches end. A row that was read before the change gets the
        newer client, unless the change moved the cluster to another `location` (`execution.locations`).
        """
        session = self._open_session()
        await self._close_idle()
        # A cluster that was removed and added again starts at version 1.
        version = (cluster.created_at, cluster.connection_version)
        key = (cluster.name, location)
        known = self._entries.get(key)
        if known is not None and known.version >= version:
            if known.version == version:
                known.sealed = cluster.connection  # it may be encrypted with another key by now
            return known.api
        made = self._entries[key] = self._make(cluster, version, session)
        if known is not None:
            await known.api.close()
        return made.api

    def _make(self, cluster: Cluster, version: tuple[datetime, int], session: aiohttp.ClientSession) -> "_Entry":
        source = AccessSource(lambda: self._cipher.open(made.sealed), self._clock)
        api = ClusterApi(cluster.name, Transport(cluster.name, session, source, self._clock))
        made = _Entry(version, api, cluster.connection)
        return made

    async def _close_idle(self) -> None:
        """Close the clients that have sent nothing for long, as those of clusters that were removed or have moved."""
        now = self._clock()
        if self._checked_at is not None and now - self._checked_at < IDLE_AFTER / 10:
            return
        self._checked_at = now
        idle = [key for key, entry in self._entries.items() if entry.api.is_idle(now - IDLE_AFTER)]
        for api in [self._entries.pop(key).api for key in idle]:
            await api.close()

    async def close(self) -> None:
        """Close all connections."""
        entries, self._entries = list(self._entries.values()), {}
        for entry in entries:
            await entry.api.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop, self._session = loop, open_session()
        if self._loop is not loop:
            raise RuntimeError(
                "ClusterClients belong to the event loop of their first use; open new ones for this loop"
            )
        return self._session


def _selected(selector: str) -> dict[str, str]:
    return {"labelSelector": selector} if selector else {}


def _version_of(found: Any) -> str | None:
    metadata = found.get("metadata") if isinstance(found, dict) else None
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else None
