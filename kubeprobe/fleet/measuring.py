"""Measuring requests to clusters, by the hooks that aiohttp has for it: verb, kind and status, never which cluster."""

import re
from time import perf_counter
from types import SimpleNamespace

import aiohttp

from kubeprobe import metrics

_RESOURCE = re.compile(
    r"/api(?:/v1|s/[^/]+/[^/]+)"  # the API's root, whatever prefix the server has
    r"(?:/namespaces/[^/]+)?(?=/)"  # not the namespace itself
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def describe(method: str, path: str, *, watch: bool = False) -> tuple[str, str]:
    """The verb and the kind of a request, as the API's authorizer names them: `get`, `pods/log`."""
    found = _RESOURCE.search(path)
    if found is None:
        return _VERBS.get(method, "get"), path.rpartition("/")[2]
    kind = found["resource"] + (f"/{found['subresource']}" if found["subresource"] else "")
    if method in _VERBS:
        return _VERBS[method], kind
    if watch:
        return "watch", kind
    return "get" if found["name"] else "list", kind


def request_trace() -> aiohttp.TraceConfig:
    """For a session: records every request once its headers are there, or once it has failed."""
    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(_start)
    trace.on_request_end.append(_end)
    trace.on_request_exception.append(_fail)
    return trace


async def _start(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.began = perf_counter()


async def _end(_session: aiohttp.ClientSession, context: SimpleNamespace, ended: aiohttp.TraceRequestEndParams) -> None:
    _record(context, ended, ended.response.status)


async def _fail(
    _session: aiohttp.ClientSession, context: SimpleNamespace, failed: aiohttp.TraceRequestExceptionParams
) -> None:
    _record(context, failed, None)


def _record(
    context: SimpleNamespace,
    request: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams,
    status: int | None,
) -> None:
    verb, kind = describe(request.method, request.url.path, watch=request.url.query.get("watch") == "true")
    metrics.record_cluster_request(verb, kind, status, perf_counter() - context.began)
