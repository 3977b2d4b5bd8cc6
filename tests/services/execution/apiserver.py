"""A cluster's API with scripted responses, for those that a real one does not give on demand."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web

Pod = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A response instead of the usual one. `stored`: the pod is created nevertheless."""

    status: int
    reason: str = ""
    message: str = "because"
    headers: dict[str, str] = field(default_factory=dict)
    stored: bool = False
    silent: bool = False
    """The connection is closed before the response."""

    def body(self) -> dict[str, Any]:
        """The Status of Kubernetes."""
        return {
            "kind": "Status",
            "status": "Failure",
            "code": self.status,
            "reason": self.reason,
            "message": self.message,
        }


class OddApi:
    """Pods of one cluster; the next creations and deletions get the responses in `refusals`."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.requests: list[tuple[str, str]] = []
        self.refusals: list[Refusal] = []
        self.url = ""

    def refuse(self, *refusals: Refusal) -> None:
        """Set the next responses."""
        self.refusals += refusals

    def put(self, name: str, **labels: str) -> Pod:
        """Add a pod."""
        metadata = {"name": name, "uid": str(uuid4()), "labels": labels}
        self.pods[name] = {"metadata": metadata, "spec": {"activeDeadlineSeconds": 180}}
        return self.pods[name]

    async def create(self, request: web.Request) -> web.Response:
        pod = await request.json()
        name = pod["metadata"]["name"]
        self.requests.append(("POST", name))
        refusal = self.refusals.pop(0) if self.refusals else None
        if name in self.pods:
            refusal = refusal or Refusal(409, "AlreadyExists", f'pods "{name}" already exists')
        if refusal is None or refusal.stored:
            pod["metadata"]["uid"] = str(uuid4())
            self.pods[name] = pod
        return self._answer(request, refusal) or web.json_response(pod, status=201)

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.requests.append(("GET", name))
        if name not in self.pods:
            return self._answer(request, Refusal(404, "NotFound", "no such pod")) or web.Response()
        return web.json_response(self.pods[name])

    async def delete(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await request.json()
        self.requests.append(("DELETE", name))
        refusal = self.refusals.pop(0) if self.refusals else None
        if name not in self.pods:
            refusal = Refusal(404, "NotFound", "no such pod")
        elif self.pods[name]["metadata"]["uid"] != body["preconditions"]["uid"]:
            refusal = Refusal(409, "Conflict", "the UID in the precondition does not match")
        if refused := self._answer(request, refusal):
            return refused
        return web.json_response(self.pods.pop(name))

    def _answer(self, request: web.Request, refusal: Refusal | None) -> web.Response | None:
        if refusal is None:
            return None
        if refusal.silent:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(refusal.body(), status=refusal.status, headers=refusal.headers)


@contextmanager
def serving() -> Iterator[OddApi]:
    """Serve such an API on a free port in a separate thread."""
    api, loop = OddApi(), asyncio.new_event_loop()
    app = web.Application()
    base = "/api/v1/namespaces/kubeprobe/pods"
    app.router.add_post(base, api.create)
    app.router.add_get(base + "/{name}", api.get)
    app.router.add_delete(base + "/{name}", api.delete)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        api.url = f"http://{host}:{port}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(timeout=60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=60)
        loop.close()
