"""The server in the canary's pods: answers every request with its version, and stops without dropping any.

Run as `python3 -m probes.canary_deployment.server`. On SIGTERM it stops accepting connections, finishes the open
ones and exits. The pod's preStop hook delays SIGTERM until kube-proxy on every node has removed the endpoint.
"""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

PORT = 8080


class _Handler(BaseHTTPRequestHandler):
    version = os.environ.get("CANARY_VERSION", "none").encode()

    def do_GET(self) -> None:
        """Answer with the version."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.version)))
        self.end_headers()
        self.wfile.write(self.version)

    def log_message(self, *_: object) -> None:
        """Log nothing: there are several requests per second."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that `server_close` waits for open requests
    request_queue_size = 128


def serve() -> None:
    """Serve until SIGTERM."""
    server = _Server(("", PORT), _Handler)

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()  # shutdown waits for the loop, which this handler interrupts

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    serve()
