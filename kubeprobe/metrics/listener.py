"""The HTTP listener of processes that have none: launcher, collector, responder and beat serve `/metrics` by it.

One process serves itself: workers use threads, so prometheus-client's mode for many processes is not needed. Web serves
its own on its own port.
"""

import socket
import sys
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, MetricsHandler

from kubeprobe.metrics import REGISTRY, record_process
from kubeprobe.settings import Settings

log = structlog.get_logger(__name__)

PORT_OFFSETS = {"launcher": 0, "collector": 1, "responder": 2, "beat": 3}
"""Added to KUBEPROBE_METRICS_PORT, so that one environment serves all processes of a machine (`kubeprobe up`)."""
TIMEOUT_S = 5.0
"""For each read from and write to a client."""
REQUEST_WITHIN_S = 15.0
"""For a whole request."""
AT_A_TIME = 8
"""Connections; more are closed at once."""


def serve_metrics(settings: Settings, process: str) -> "MetricsListener | None":
    """Serve the metrics of this process if a port is set. A port that is taken is logged and costs only the metrics."""
    record_process(process)
    if not settings.metrics_port:
        return None
    address = (settings.metrics_address, settings.metrics_port + PORT_OFFSETS.get(process, 0))
    try:
        listener = MetricsListener(address, REGISTRY)
    except OSError as error:
        log.error("metrics not served", address=address[0], port=address[1], error=str(error))
        return None
    log.info("metrics served", address=address[0], port=address[1])
    return listener


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class MetricsListener:
    """Answers `GET /metrics` from threads of its own until closed. Raises OSError where it cannot listen."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        self._server = _Server(address, _Handler.factory(registry))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_S)


class _Handler(MetricsHandler):
    timeout = TIMEOUT_S

    def do_GET(self) -> None:  # noqa: N802 -- a name of http.server
        if urlsplit(self.path).path != "/metrics":
            self.send_error(404, "Not found; metrics are at /metrics")
            return
        super().do_GET()


class _Server(ThreadingHTTPServer):
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(AT_A_TIME)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        deadline = threading.Timer(REQUEST_WITHIN_S, _hang_up, (request,))  # `timeout` is of each read only
        deadline.daemon = True
        try:
            deadline.start()
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- socketserver's signature
        log.debug("metrics client failed", client=str(client_address[0]), error=repr(sys.exception()))
