"""The HTTP of Apprise's services: the status of a response decides, even if its body stalls, breaks or never ends.

Apprise's plugins call `requests.post`, which reads the whole body before it returns: a service that accepted a message
and then stalled would be reported as failed, and get it again. `requests` creates an adapter for each of its sessions;
the one here stops reading a body at a limit of time and of size, and returns what it has read.
"""

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

BODY_S = 5.0
MAX_BODY = 1 << 20
"""Bytes: more than any service answers."""
_CHUNK = 1 << 14


class BoundedBodyAdapter(HTTPAdapter):
    """Reads of a response's body what arrives within these limits."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As HTTPAdapter does; the response's `content` never raises."""
        response = super().send(*args, **kwargs)
        response._content = _start(response.raw)  # noqa: SLF001 -- `requests` has no public way to hand it a body
        response._content_consumed = True  # noqa: SLF001
        response.raw.close()
        return response


def bound_bodies() -> None:
    """Have every session of `requests` in this process use it."""
    vars(requests.sessions)["HTTPAdapter"] = BoundedBodyAdapter


def _start(raw: Any) -> bytes:
    body, until = b"", time.monotonic() + BODY_S
    try:
        while len(body) < MAX_BODY and time.monotonic() < until:
            if not (chunk := raw.read1(_CHUNK, decode_content=True)):
                break
            body += chunk
    except (HTTPError, OSError, ValueError):
        pass  # what came until then is all there is
    return body
