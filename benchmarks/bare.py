"""A bare client that only creates pods, watches them end and deletes them: the limit set by the API server.

Same connections (one aiohttp session, TLS contexts as in `kubeprobe.fleet`), same pods, same number of concurrent
requests as KubeProbe; no store, no queue, no verdicts.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from ulid import ULID

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.render import RunIdentity, render_pod
from kubeprobe.fleet.access import AccessSource
from kubeprobe.fleet.credentials import from_kubeconfig
from kubeprobe.fleet.transport import PARALLEL_REQUESTS, open_session

INSTALLATION = "bare"
PODS = "/api/v1/namespaces/kubeprobe/pods"
WITHIN_S = 180.0


@dataclass(frozen=True)
class Bare:
    """When a bare client began, observed its last pod's end, and had deleted its last pod; Unix seconds."""

    began: float
    ended: float
    deleted: float


async def run_bare(kubeconfig: Path, catalog: Catalog, case: str, count: int, max_in_flight: int) -> Bare:
    """Create, watch and delete `count` pods, at most `max_in_flight` at a time."""
    access = await AccessSource(lambda: from_kubeconfig(kubeconfig)).current()
    async with open_session() as session:
        client = _Client(session, access.server, access.ssl, max_in_flight)
        return await client.run([_pod(catalog, case) for _ in range(count)])


class _Client:
    def __init__(self, session: aiohttp.ClientSession, server: str, tls: Any, max_in_flight: int) -> None:
        self._session, self._server, self._tls = session, server, tls
        self._requests = asyncio.Semaphore(PARALLEL_REQUESTS)
        self._in_flight = asyncio.Semaphore(max_in_flight)
        self._last_end = 0.0

    async def run(self, pods: list[dict[str, Any]]) -> Bare:
        listed = orjson.loads(await self._send("GET", f"{PODS}?labelSelector={_SELECTOR}"))
        version = listed["metadata"]["resourceVersion"]
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
            group.create_task(self._watch(version, len(pods)))
            began = time.time()
            for pod in pods:
                group.create_task(self._create(pod))
        return Bare(began, self._last_end, time.time())

    async def _create(self, pod: dict[str, Any]) -> None:
        await self._in_flight.acquire()  # until it is deleted
        await self._send("POST", PODS, pod)

    async def _watch(self, version: str, expected: int) -> None:
        query = f"?labelSelector={_SELECTOR}&watch=true&resourceVersion={version}"
        ended: set[str] = set()
        url = self._server + PODS + query
        async with asyncio.TaskGroup() as group, self._session.get(url, ssl=self._tls) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for event in map(orjson.loads, lines):
                    metadata = event["object"]["metadata"]
                    if event["object"]["status"].get("phase") != "Succeeded" or metadata["uid"] in ended:
                        continue
                    ended.add(metadata["uid"])
                    self._last_end = time.time()
                    group.create_task(self._delete(metadata["name"], metadata["uid"]))
                if len(ended) == expected:
                    return

    async def _delete(self, name: str, uid: str) -> None:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        await self._send("DELETE", f"{PODS}/{name}", options)
        self._in_flight.release()

    async def _send(self, method: str, path: str, body: Any = None) -> bytes:
        async with self._requests:
            response = await self._session.request(
                method,
                self._server + path,
                data=None if body is None else orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                ssl=self._tls,
            )
            async with response:
                response.raise_for_status()
                return await response.read()


_SELECTOR = f"kubeprobe.io%2Finstallation%3D{INSTALLATION}"


def _pod(catalog: Catalog, case: str) -> dict[str, Any]:
    identity = RunIdentity(
        run_id=str(ULID()).lower(), installation=INSTALLATION, case=case, cluster="real", trigger="manual"
    )
    return render_pod(catalog, identity)
