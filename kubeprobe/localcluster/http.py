"""The HTTP handler: finds cluster, object and verb of a request, and answers as the real API server does.

One handler for all paths, because a fleet of a thousand clusters differs in the first path segments only.
`registry`, `watch` and the cluster's pod runner do the work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web
from aiohttp.web_request import BaseRequest

from kubeprobe.localcluster import discovery, errors, reviews
from kubeprobe.localcluster.cluster import Cluster
from kubeprobe.localcluster.errors import ApiError
from kubeprobe.localcluster.fleet import Fleet
from kubeprobe.localcluster.lists import check_version, chosen, page_of
from kubeprobe.localcluster.metrics import RequestCounter
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.patch import json_patch, merge_patch, strategic_patch
from kubeprobe.localcluster.registry import Target
from kubeprobe.localcluster.requests import (
    decode,
    delete_options,
    is_dry_run,
    list_options,
    log_options,
    target_of,
)
from kubeprobe.localcluster.resources import BUILT_IN, PODS, Resource
from kubeprobe.localcluster.shapes import decoded
from kubeprobe.localcluster.store import Stored
from kubeprobe.localcluster.tables import as_table
from kubeprobe.localcluster.tokens import Tokens
from kubeprobe.localcluster.watch import parse_version, watch_lines

Handler = Callable[[BaseRequest, Cluster, Target], Awaitable[web.StreamResponse]]

_PATCHES: dict[str, Callable[[Any, Any], Any]] = {
    "application/json-patch+json": json_patch,
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_patch,
}
_log = logging.getLogger(__name__)

_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions"}
_SUBRESOURCES = ("", "status", "finalize")


class ApiServer:
    """Answers the requests to all clusters of a fleet."""

    def __init__(self, fleet: Fleet, tokens: Tokens, *, bookmark_seconds: float = 60) -> None:
        self._fleet = fleet
        self._tokens = tokens
        self._bookmark_seconds = bookmark_seconds
        self._requests = RequestCounter()
        self._by_verb: dict[str, Handler] = {
            "GET": self._get,
            "LIST": self._list,
            "WATCH": self._watch,
            "POST": self._create,
            "PUT": self._update,
            "PATCH": self._patch,
            "DELETE": self._delete,
            "DELETECOLLECTION": self._delete_collection,
        }

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Answer one request; every error is a Status object."""
        try:
            header, path = self._tokens.from_path(request.path)
            cluster, path = self._fleet.find(path)
            return await self._answer(request, cluster, path, header or request.headers.get("Authorization"))
        except ApiError as error:
            return _json(orjson.dumps(error.status()), error.code)
        except Exception as error:  # noqa: BLE001 -- a bug here must be a 500, not break the connection
            _log.exception("%s %s", request.method, request.path)
            return _json(orjson.dumps(errors.internal(error).status()), 500)

    async def _answer(
        self, request: BaseRequest, cluster: Cluster, path: str, authorization: str | None
    ) -> web.StreamResponse:
        parts = [part for part in path.split("/") if part]
        public = _public(parts)
        self._tokens.check(authorization, allow_anonymous=public is not None)
        if public is not None:
            return public
        if parts == ["metrics"]:
            return web.Response(text=self._requests.text())
        if (found := discovery.discover(parts, cluster.resources)) is not None:
            return _json(orjson.dumps(found))
        target = target_of(path, cluster.resources)
        verb = _verb(request, target)
        code = 500
        try:
            response = await self._by_verb[verb](request, cluster, target)
            code = response.status
        except ApiError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = 200  # the client of a watch or a log disconnected, which is how most of them end
            raise
        finally:
            self._requests.count(verb, target, code, dry_run=request.query.get("dryRun") == "All")
        return response

    async def _get(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        if target.subresource == "log" and target.resource is PODS:
            return await self._log(request, cluster, target)
        _check_named(target)
        return _object(request, target.resource, cluster.registry.get(target))

    async def _list(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        options = list_options(request.query, target.resource.kind, request.headers.get("Accept", ""))
        version = str(cluster.store.version)
        if options.resource_version not in ("", "0"):
            check_version(options.resource_version, cluster.store.version)
        page, metadata = page_of(chosen(cluster.store, target, options), options, version)
        if options.table:
            return _json(orjson.dumps(as_table(target.resource, page, metadata)))
        head = {
            "kind": f"{target.resource.kind}List",
            "apiVersion": target.resource.api_version,
            "metadata": metadata,
        }
        # An item's own JSON is already there; only the frame around the items is new.
        frame = orjson.dumps(head)[:-1]
        return _json(b'%s,"items":[%s]}' % (frame, b",".join(stored.raw for stored in page)))

    async def _watch(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        options = list_options(request.query, target.resource.kind, request.headers.get("Accept", ""))
        if options.resource_version:
            parse_version(options.resource_version)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        lines = watch_lines(cluster.store, target, options, self._bookmark_seconds)
        try:
            await response.prepare(request)
            async for group in lines:
                if group:
                    await response.write(b"".join(group))
        except ConnectionResetError:
            pass  # the client disconnected
        finally:
            await lines.aclose()  # type: ignore[attr-defined]
        return response

    async def _log(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        pod = cluster.registry.get(target).object
        options = log_options(request.query, target.name, cluster.registry.clock())
        assert cluster.runner is not None
        chunks = cluster.runner.read_log(pod, options)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
        except ConnectionResetError:
            pass  # the client disconnected
        return response

    async def _create(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        if target.name:
            raise errors.method_not_allowed() if not target.subresource else errors.no_such_resource()
        body = decode(await request.read(), request.content_type)
        if target.resource.create_only:
            return _json(orjson.dumps(reviews.answer(target.resource, body)), 201)
        if target.resource.namespaced and not target.namespace:
            raise errors.method_not_allowed()
        if _is_strict(request):
            decoded(target.resource, body, strict=True)
        stored = cluster.registry.create(target, body, dry_run=_is_dry_run(request))
        return _object(request, target.resource, stored, 201)

    async def _update(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        _check_named(target)
        body = decode(await request.read(), request.content_type)
        if _is_strict(request):
            decoded(target.resource, body, strict=True)
        stored = cluster.registry.update(target, body, dry_run=_is_dry_run(request))
        return _object(request, target.resource, stored)

    async def _patch(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        _check_named(target)
        apply = _PATCHES.get(request.content_type)
        if apply is None:
            raise errors.unsupported_media_type(list(_PATCHES))
        if apply is strategic_patch and target.resource not in BUILT_IN:
            raise errors.unsupported_media_type([t for t in _PATCHES if "strategic" not in t])
        patch = _patch_body(await request.read(), list if apply is json_patch else dict)
        dry_run = _is_dry_run(request)
        stored = cluster.registry.patch(target, lambda obj: apply(obj, patch), dry_run=dry_run)
        return _object(request, target.resource, stored)

    async def _delete(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        if target.subresource:
            raise errors.method_not_allowed()
        options = delete_options(request.query, await _optional_body(request))
        deleted = cluster.registry.delete(target, options)
        if deleted.gone and not target.resource.returns_deleted:
            return _json(orjson.dumps(errors.success(target.resource, deleted.stored.object)))
        return _json(deleted.stored.raw)

    async def _delete_collection(self, request: BaseRequest, cluster: Cluster, target: Target) -> web.StreamResponse:
        resource = target.resource
        if resource.namespaced and not target.namespace:
            raise errors.method_not_allowed()
        options = delete_options(request.query, await _optional_body(request))
        wanted = list_options(request.query, resource.kind)
        deleted = [
            cluster.registry.delete(Target(resource, target.namespace, s.object["metadata"]["name"]), options)
            for s in chosen(cluster.store, target, wanted)
        ]
        frame = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": {}}
        items = [one.stored.object for one in deleted]
        return _json(orjson.dumps({**frame, "items": items}))


def _public(parts: list[str]) -> web.Response | None:
    """The response of a path that needs no authentication; None for other paths."""
    if parts[:1] == ["version"]:
        return _json(orjson.dumps(discovery.version()))
    return web.Response(text="ok") if parts and parts[0] in discovery.HEALTH else None


def _verb(request: BaseRequest, target: Target) -> str:
    """The API verb, as in the metrics of the API server."""
    if request.method == "GET":
        if target.resource.create_only:
            raise errors.method_not_allowed()
        if request.query.get("watch", "").lower() in ("1", "true"):
            return "WATCH"
        return "GET" if target.name else "LIST"
    if request.method == "DELETE":
        return "DELETE" if target.name else "DELETECOLLECTION"
    if request.method not in ("POST", "PUT", "PATCH"):
        raise errors.method_not_allowed()
    return request.method


def _is_dry_run(request: BaseRequest) -> bool:
    return is_dry_run(request.query, _OPTIONS[request.method])


def _is_strict(request: BaseRequest) -> bool:
    return request.query.get("fieldValidation") == "Strict"


def _check_named(target: Target) -> None:
    if not target.name:
        raise errors.method_not_allowed()
    if target.subresource not in _SUBRESOURCES or (target.subresource == "status" and not target.resource.status):
        raise errors.no_such_resource()


def _patch_body(raw: bytes, expected: type) -> Any:
    try:
        patch = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error
    if not isinstance(patch, expected):
        raise errors.bad_request(f"error decoding patch: expected a JSON {expected.__name__}")
    return patch


async def _optional_body(request: BaseRequest) -> Object:
    raw = await request.read()
    return decode(raw, request.content_type) if raw else {}


def _object(request: BaseRequest, resource: Resource, stored: Stored, code: int = 200) -> web.Response:
    if "as=Table" in request.headers.get("Accept", ""):
        metadata = {"resourceVersion": str(stored.version)}
        return _json(orjson.dumps(as_table(resource, [stored], metadata)), code)
    return _json(stored.raw, code)


def _json(body: bytes, code: int = 200) -> web.Response:
    return web.Response(body=body, status=code, content_type="application/json")
