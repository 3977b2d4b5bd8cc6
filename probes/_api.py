"""A small client of the Kubernetes API: JSON over the standard library's http.client.

The official package takes 0.8 s of CPU to import (this: 0.05 s), and a probe starts thousands of times.
A refused request becomes an ApiError with the API's message; a missing permission is not a fault of
the target, so it ends the run as unknown.
"""

import http.client
import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlencode

from kubeprobe_client import CheckFailed, give_up

from probes._access import Access, AccessError, find_access

REQUEST_TIMEOUT = 10.0
"""Time limit of a plain request, in seconds."""

_IDLE_LIMIT = 5.0  # seconds: the server may close a connection that was idle for longer while a request is sent

_MIN_RETRY_DELAY = 0.1  # seconds before a request is sent again, even if the server says 0

_LINE_LIMIT = 64 << 20
"""Bytes of one event; etcd stores objects of at most a few MiB."""

_SECONDS = re.compile(r"[0-9]{1,9}")

_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\S+) (?:resource "(?P<resource>[^"]+)" in API group "[^"]*"|path "(?P<path>[^"]+)")'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class ApiError(CheckFailed):
    """The API refused the request or did not answer; the text is the API's message. `status` is 0 without an answer.

    `retry_after_s`: the Retry-After of a 429, in seconds; None without one.
    """

    def __init__(self, text: str, status: int = 0, reason: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class PermissionMissing(ApiError):  # noqa: N818
    """RBAC does not allow the request."""


class Api:
    """A client of one cluster's API; a context manager. Not thread-safe."""

    def __init__(self, access: Access, timeout: float = REQUEST_TIMEOUT) -> None:
        self.access = access
        self._timeout = timeout
        self._idle: http.client.HTTPConnection | None = None
        self._idle_since = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._idle is not None:
            self._idle.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET; raises ApiError."""
        return self._json("GET", path, query)

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST an object; raises ApiError."""
        return self._json("POST", path, {}, body)

    def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT: replace the object at `path`; raises ApiError, with status 409 if it has changed meanwhile."""
        return self._json("PUT", path, {}, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PATCH with a merge patch (RFC 7386); raises ApiError."""
        return self._json("PATCH", path, {}, body)

    def delete(self, path: str, **options: Any) -> None:
        """DELETE with these DeleteOptions; raises ApiError."""
        self._json("DELETE", path, {}, {"apiVersion": "v1", "kind": "DeleteOptions", **options})

    def text(self, path: str, **query: str) -> str:
        """GET something that is not JSON, such as a log; raises ApiError."""
        return self._request("GET", path, query).decode("utf-8", "replace")

    def pages(self, path: str, size: int, **query: str) -> Iterator[list[dict[str, Any]]]:
        """A list, page by page, so that responses are bounded; starts again if the list has expired."""
        continue_token = ""
        while True:
            page_query = {**query, "limit": str(size), **({"continue": continue_token} if continue_token else {})}
            try:
                page = self.get(path, **page_query)
            except ApiError as error:
                if error.status != 410 or not continue_token:
                    raise
                continue_token = ""
                continue
            yield page.get("items") or []
            continue_token = page.get("metadata", {}).get("continue", "")
            if not continue_token:
                return

    def watch(self, path: str, seconds: float, **query: str) -> Iterator[dict[str, Any]]:
        """The events of a watch, for `seconds` or until the server ends it; raises ApiError."""
        deadline = time.monotonic() + seconds
        query = {**query, "watch": "true", "timeoutSeconds": str(max(round(seconds), 1))}
        connection = self._connect(seconds + 1)
        try:
            response = self._send(connection, "GET", path, query)
            if response.status >= 400:
                raise _refusal(response.status, response.read(), f"watch {path}")
            while line := response.readline(_LINE_LIMIT):
                event: dict[str, Any] = json.loads(line)  # a longer line is not JSON: ValueError
                if event["type"] == "ERROR":
                    raise _refusal(event["object"].get("code", 0), json.dumps(event["object"]).encode(), path)
                yield event
                if connection.sock is not None:
                    connection.sock.settimeout(max(deadline - time.monotonic(), 0) + 1)
        except TimeoutError:
            return
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._no_answer("watch", path, error) from error
        finally:
            connection.close()

    def _json(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        answer = self._request(method, path, query, body)
        try:
            document: dict[str, Any] = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"{method} {path}: expected JSON, got {answer[:100]!r}") from error
        return document

    def _request(self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None) -> bytes:
        """The response; waits as the server's Retry-After says, within the time-out.

        Clients of users do the same (client-go): a server that restarts or is busy for a second is not a fault.
        A request with a 429 was not executed, so any request can be sent again.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._request_once(method, path, query, body)
            except ApiError as error:
                if error.retry_after_s is None or time.monotonic() + error.retry_after_s > deadline:
                    raise
                time.sleep(max(error.retry_after_s, _MIN_RETRY_DELAY))

    def _request_once(self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None) -> bytes:
        idle = self._idle_connection()
        connection = idle or self._connect(self._timeout)
        try:
            response = self._send(connection, method, path, query, body)
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if idle and method == "GET" and isinstance(error, ConnectionError):
                # The server was restarted since the last request, which is not a fault.
                return self._request_once(method, path, query, body)
            raise self._no_answer(method, path, error) from error
        if response.status >= 400:
            connection.close()
            raise _refusal(response.status, answer, f"{method} {path}", response.getheader("Retry-After"))
        self._idle, self._idle_since = connection, time.monotonic()
        return answer

    def _idle_connection(self) -> http.client.HTTPConnection | None:
        """The connection of the last request, unless it has been idle for too long."""
        idle, self._idle = self._idle, None
        if idle is not None and time.monotonic() - self._idle_since >= _IDLE_LIMIT:
            idle.close()
            return None
        return idle

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        access = self.access
        if access.tls is None:
            return http.client.HTTPConnection(access.host, access.port, timeout=timeout)
        return http.client.HTTPSConnection(access.host, access.port, timeout=timeout, context=access.tls)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: dict[str, str],
        body: dict[str, Any] | None = None,
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json, */*", "User-Agent": "kubeprobe-probe"}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
            content = json.dumps(body)
        url = self.access.prefix + path + (f"?{urlencode(query)}" if query else "")
        connection.request(method, url, content, headers)
        return connection.getresponse()

    def _no_answer(self, method: str, path: str, error: Exception) -> ApiError:
        what = str(error) or type(error).__name__
        return ApiError(f"no answer from the API server {self.access.server} ({method} {path}): {what}")


def connect(timeout: float = REQUEST_TIMEOUT) -> Api:
    """The API of the cluster that this probe runs in; without access to it the run ends as unknown.

    `timeout`: the time limit of a plain request, in seconds.
    """
    try:
        return Api(find_access(os.environ), timeout)
    except AccessError as error:
        give_up(str(error))


def give_up_if_forbidden(error: ApiError) -> None:
    """End the run as unknown if the probe itself lacks a permission; else return."""
    if isinstance(error, PermissionMissing):
        give_up(str(error))


def _refusal(status: int, answer: bytes, request: str, retry_after: str | None = None) -> ApiError:
    """The API's Status object as an error; distinguishes RBAC from quota and admission."""
    try:
        document = json.loads(answer)
        message, reason = document.get("message") or "", document.get("reason") or ""
    except (ValueError, AttributeError, RecursionError):
        message, reason = answer[:300].decode("utf-8", "replace").strip(), ""
    if status == 401:
        return PermissionMissing(f"credentials refused by the API server: {message}", status, reason)
    forbidden = _FORBIDDEN.search(message) if status == 403 else None
    if forbidden:
        where = f"in {forbidden['namespace']}" if forbidden["namespace"] else "at the cluster scope"
        what = f"{forbidden['verb']} {forbidden['resource'] or forbidden['path']} {where}"
        return PermissionMissing(f"permission missing: {what}", status, reason)
    delay = float(retry_after or 0) if status == 429 and _SECONDS.fullmatch(retry_after or "") else None
    return ApiError(f"{status} {reason}: {message} ({request})", status, reason, delay)
