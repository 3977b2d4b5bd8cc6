"""A plain HTTP client for the contract tests: no library between the test and the server's responses."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

Object = dict[str, Any]

BUSYBOX = "docker.io/kubeprobe/busybox:dev"
SECONDS = 60.0
"""Time limit of every wait."""

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass
class Api:
    session: aiohttp.ClientSession
    host: str
    kubeconfig: Path
    anonymous: aiohttp.ClientSession
    """A session without credentials."""

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        expect: int | None = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Any:
        """The response as JSON (or text); checks its status code."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        sent = {"Content-Type": content_type, **(headers or {})} if data is not None else headers
        async with self.session.request(method, self.host + path, data=data, headers=sent, params=query) as answer:
            text = await answer.text()
            if expect is not None:
                assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if answer.content_type == "application/json" else text

    async def get(self, path: str, *, expect: int = 200, **query: str) -> Any:
        return await self.call("GET", path, expect=expect, **query)

    async def post(self, path: str, body: Any, *, expect: int = 201, **query: str) -> Any:
        return await self.call("POST", path, body, expect=expect, **query)

    async def put(self, path: str, body: Any, *, expect: int = 200, **query: str) -> Any:
        return await self.call("PUT", path, body, expect=expect, **query)

    async def patch(self, path: str, body: Any, content_type: str = MERGE, *, expect: int = 200) -> Any:
        return await self.call("PATCH", path, body, content_type=content_type, expect=expect)

    async def delete(self, path: str, body: Any = None, *, expect: int = 200, **query: str) -> Any:
        return await self.call("DELETE", path, body, expect=expect, **query)

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator["Watch"]:
        timeout = aiohttp.ClientTimeout(total=SECONDS)  # a watch that is expected to end may not
        params = {"watch": "true", **query}
        async with self.session.get(self.host + path, params=params, timeout=timeout) as answer:
            yield Watch(answer)

    async def until(self, path: str, fields: Object, holds: Callable[[Object], bool], version: str = "") -> Object:
        """The first state of the selected object for which `holds` is true: from now on, or since a version."""
        selector = ",".join(f"{field}={value}" for field, value in fields.items())
        seen: Object = {}
        try:
            query = {"fieldSelector": selector} | ({"resourceVersion": version} if version else {})
            async with asyncio.timeout(SECONDS), self.watch(path, **query) as events:
                async for event in events:
                    seen = event
                    if event["type"] in ("ADDED", "MODIFIED") and holds(event["object"]):
                        found: Object = event["object"]
                        return found
        except TimeoutError:
            pass
        raise AssertionError(f"timed out waiting for {path} {selector}; last event: {json.dumps(seen)}")

    async def pod_until(self, namespace: str, name: str, holds: Callable[[Object], bool], version: str = "") -> Object:
        return await self.until(pods(namespace), {"metadata.name": name}, holds, version)

    async def ended(self, namespace: str, name: str) -> Object:
        """The pod once its phase is Succeeded or Failed."""
        return await self.pod_until(namespace, name, lambda pod: phase(pod) in ("Succeeded", "Failed"))

    async def running(self, namespace: str, name: str) -> Object:
        return await self.pod_until(namespace, name, lambda pod: "running" in state(pod))

    async def first_line(self, namespace: str, name: str, line: str) -> None:
        """Wait until a running pod has printed this as its first line."""
        await self.running(namespace, name)
        url = self.host + pods(namespace, name, "log")
        async with asyncio.timeout(SECONDS), self.session.get(url, params={"follow": "true"}) as answer:
            assert (await answer.content.readline()).decode() == line

    async def waiting(self, namespace: str, name: str, *reasons: str) -> Object:
        return await self.pod_until(namespace, name, lambda pod: state(pod).get("waiting", {}).get("reason") in reasons)

    async def served(self, path: str) -> None:
        """Wait until a path is served (a custom kind appears shortly after its definition)."""
        async with asyncio.timeout(SECONDS):
            # There is no event for this.
            while (await self.call("GET", path))["kind"] == "Status":  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def gone(self, path: str) -> None:
        """Wait until the object at this path is deleted."""
        collection, _, name = path.rpartition("/")
        try:
            async with asyncio.timeout(SECONDS):
                listed = await self.get(collection, fieldSelector=f"metadata.name={name}")
                if not listed["items"]:
                    return
                query = {"fieldSelector": f"metadata.name={name}"}
                version = listed["metadata"]["resourceVersion"]
                async with self.watch(collection, resourceVersion=version, **query) as events:
                    async for event in events:
                        if event["type"] == "DELETED":
                            return
        except TimeoutError:
            pass
        raise AssertionError(f"timed out waiting for the deletion of {path}")


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@asynccontextmanager
async def new_kind(api: Api) -> AsyncIterator[str]:
    """The group of a new kind, `Widget`, of which the API server has no history yet."""
    group = f"g{uuid4().hex[:8]}.example.com"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
    await api.post(DEFINITIONS, definition)

    def established(seen: Object) -> bool:
        found = {c["type"]: c["status"] for c in (seen.get("status") or {}).get("conditions") or []}
        return found.get("Established") == "True"

    await api.until(DEFINITIONS, {"metadata.name": f"widgets.{group}"}, established)
    await api.served(f"/apis/{group}/v1/widgets")
    yield group
    await api.delete(f"{DEFINITIONS}/widgets.{group}")
    await api.gone(f"{DEFINITIONS}/widgets.{group}")


class Watch:
    """The events of a watch, as they arrive."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def __aiter__(self) -> AsyncIterator[Object]:
        async for line in self.answer.content:
            yield json.loads(line)

    async def next(self, what: str) -> Object:
        """The next event; fails with `what` after the time limit."""
        try:
            async with asyncio.timeout(SECONDS):
                line = await self.answer.content.readline()
        except TimeoutError:
            raise AssertionError(f"timed out waiting for {what}") from None
        assert line, f"the watch ended before {what}"
        event: Object = json.loads(line)
        return event


def pods(namespace: str, name: str = "", subresource: str = "") -> str:
    return "/".join(filter(None, (f"/api/v1/namespaces/{namespace}/pods", name, subresource)))


def pod(name: str, script: str = "exit 0", **spec: Any) -> Object:
    """A pod whose probe container runs a shell script."""
    container = {"name": "probe", "image": BUSYBOX, "command": ["sh", "-c", script], **spec.pop("container", {})}
    defaults = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "automountServiceAccountToken": False}
    body = {"containers": [container, *spec.pop("more", ())], **defaults, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": body}


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase"))


def state(pod: Object, container: int = 0) -> Object:
    """The state of a container; empty before there is any."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    found: Object = statuses[container]["state"] if container < len(statuses) else {}
    return found


def conditions(pod: Object) -> dict[str, Object]:
    return {condition["type"]: condition for condition in pod["status"].get("conditions", [])}


def is_status(answer: Any, code: int, reason: str) -> Object:
    """Check that a response is a `Status` with this code and reason, and return it."""
    assert answer["kind"] == "Status"
    assert answer["apiVersion"] == "v1"
    assert answer["status"] == "Failure"
    assert (answer["code"], answer["reason"]) == (code, reason), answer
    refused: Object = answer
    return refused
