"""A small client of etcd: its JSON gateway (`/v3/...`) over HTTPS with a client certificate, standard library only.

Every etcd since 3.4 serves the gateway on its client port, so only the API server's own settings are needed:
address, CA, certificate and key.
"""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from kubeprobe_client import CheckFailed, give_up

from probes._trust import load_client_certificate, tls_context

Json = dict[str, Any]

CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
"""The files of a certificate directory: the keys of a `kubernetes.io/tls` Secret."""
_LINE_LIMIT = 64 << 20  # bytes of one answer of a stream
_PERMISSION_DENIED = 7  # gRPC's code


class EtcdError(CheckFailed):
    """An etcd refused or did not answer; the text is its message. `code` is gRPC's, -1 without an answer."""

    def __init__(self, text: str, code: int = -1) -> None:
        super().__init__(text)
        self.code = code

    @property
    def is_denied(self) -> bool:
        """Whether the probe lacks a permission in etcd's own access control."""
        return self.code == _PERMISSION_DENIED or "permission denied" in str(self)


class Endpoint:
    """One etcd server's gateway; a context manager. Not thread-safe."""

    def __init__(self, url: str, tls: ssl.SSLContext | None, timeout: float) -> None:
        self.url = url
        self._tls = tls
        self._timeout = timeout
        self._idle: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def post(self, path: str, body: Json | None = None) -> Json:
        """POST to `/v3/PATH`; raises EtcdError."""
        connection = self._idle or self._connect()
        self._idle = None
        try:
            response = self._send(connection, path, body)
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._no_answer(path, error) from error
        self._idle = connection
        return self._document(response.status, answer, path)

    @contextmanager
    def stream(self, path: str, body: Json) -> Iterator[Iterator[Json]]:
        """POST to `/v3/PATH` and yield the answers as they arrive, each within the time-out; raises EtcdError."""
        connection = self._connect()
        try:
            response = self._send(connection, path, body)
            if response.status >= 400:
                self._document(response.status, response.read(), path)
            yield self._results(response, path)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(path, error) from error
        finally:
            connection.close()

    def metric(self, name: str) -> float | None:
        """The value of a metric without labels from `/metrics`; None if it is not served there."""
        connection = self._connect()
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        found = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(found[0]) if found else None

    def _connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        host, port = address.hostname or "", address.port or 2379
        if address.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _send(self, connection: http.client.HTTPConnection, path: str, body: Json | None) -> http.client.HTTPResponse:
        connection.request("POST", f"/v3/{path}", json.dumps(body or {}), {"Content-Type": "application/json"})
        return connection.getresponse()

    def _results(self, response: http.client.HTTPResponse, path: str) -> Iterator[Json]:
        while line := response.readline(_LINE_LIMIT):
            try:
                answer = json.loads(line)
                if "error" in answer:
                    raise _refusal(answer["error"], path, self.url)
                yield answer["result"]
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise EtcdError(f"{self.url}/v3/{path}: expected etcd's JSON gateway, got {line[:100]!r}") from error

    def _document(self, status: int, answer: bytes, path: str) -> Json:
        try:
            document: Json = json.loads(answer)
        except (ValueError, RecursionError) as error:
            excerpt = answer[:100].decode("utf-8", "replace")
            raise EtcdError(f"{self.url}/v3/{path}: {status}: expected etcd's JSON gateway, got {excerpt!r}") from error
        if status >= 400:
            raise _refusal(document, path, self.url)
        return document

    def _no_answer(self, path: str, error: Exception) -> EtcdError:
        if isinstance(error, TimeoutError):
            return EtcdError(f"no answer from {self.url} within {self._timeout:g} s ({path})")
        if isinstance(error, ssl.SSLCertVerificationError):
            return EtcdError(
                f"{self.url}: the server's certificate is not trusted: {error.verify_message} (authority: {CA})"
            )
        if isinstance(error, ssl.SSLError):
            return EtcdError(f"{self.url}: etcd refuses the client certificate: {error.reason or error}")
        return EtcdError(f"no answer from {self.url} ({path}): {error or type(error).__name__}")


def client_tls(directory: Path) -> ssl.SSLContext:
    """TLS with the CA, certificate and key in a directory; a missing file ends the run as unknown."""
    try:
        return read_client_tls(directory)
    except ValueError as error:
        give_up(str(error))


def read_client_tls(directory: Path) -> ssl.SSLContext:
    """TLS with the CA, certificate and key in a directory; raises ValueError if one cannot be read."""
    try:
        tls = tls_context((directory / CA).read_bytes())
        load_client_certificate(tls, directory / CERTIFICATE, directory / KEY)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ValueError(
            f"parameter CERT_DIR={str(directory)!r}: expected {CA}, {CERTIFICATE} and {KEY} of an etcd client: {error}"
        ) from error
    return tls


def give_up_if_denied(error: EtcdError, what: str) -> None:
    """End the run as unknown if the probe lacks a permission in etcd's own access control; else return."""
    if error.is_denied:
        give_up(f"permission missing: {what} in etcd ({error})")


def encoded(text: str | bytes) -> str:
    """A key or value in base64, as in the gateway's JSON."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def decoded(text: str) -> str:
    """The text of a key or value in base64."""
    return base64.b64decode(text).decode("utf-8", "replace")


def prefix_end(prefix: str) -> str:
    """The `range_end` of a request for all keys with this prefix: the first key after them."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def revision(answer: Json) -> int:
    """The store's revision in an answer's header."""
    return int(answer.get("header", {}).get("revision", 0))


def wait_for_revision(endpoint: Endpoint, target: int, seconds: float) -> int:
    """Wait until a member has reached a revision, at most `seconds`; returns its revision. Raises EtcdError."""
    deadline = time.monotonic() + seconds
    while True:
        reached = revision(endpoint.post("maintenance/status"))
        if reached >= target or time.monotonic() >= deadline:
            return reached
        time.sleep(0.1)


def _refusal(document: Json, path: str, url: str) -> EtcdError:
    text = document.get("message") or document.get("error") or json.dumps(document)
    return EtcdError(f"{text} ({path} at {url})", int(document.get("code") or document.get("grpc_code") or -1))
