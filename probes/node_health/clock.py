"""The offset of the node's clock, from the Date header of the API server (or any web server) and from NTP."""

import socket
import struct
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import urlsplit

from probes._access import Access
from probes._http import Exchange, HttpError, Stream
from probes._trust import tls_context
from probes.node_health.finding import Findings

RESPONSE_TIMEOUT = 3.0
"""Time limit of a time server's response, in seconds."""

_NTP_TO_UNIX = 2_208_988_800  # seconds from 1900 to 1970 (RFC 5905)
_CLIENT = b"\x23" + 47 * b"\0"  # version 4, mode 3: a client's request (RFC 5905, section 7.3)


@dataclass(frozen=True)
class Offset:
    """The node's clock minus another one; positive if the node's is fast."""

    source: str
    seconds: float
    uncertainty: float
    """The maximum error, in seconds."""


def check(access: Access, url: str, ntp_servers: Iterable[str], most: float) -> Findings:
    """Query `url` (empty: the API server) and every NTP server; a problem if the offset surely exceeds `most`."""
    findings = Findings()
    for query in (partial(_by_date, access, url), *(partial(_by_ntp, server) for server in ntp_servers)):
        try:
            found = query()
        except (OSError, ValueError) as error:
            findings.unchecked.append(f"clock: {error}")
            continue
        measured = max(abs(found.seconds), findings.measured.get("clock_offset_s", 0.0))
        findings.measured["clock_offset_s"] = round(measured, 3)
        if abs(found.seconds) - found.uncertainty > most:
            which = "ahead of" if found.seconds > 0 else "behind"
            difference = f"{abs(found.seconds):.1f} s (± {found.uncertainty:.1f}) {which} {found.source}"
            findings.problems.append(f"clock: this node's is {difference}, {most:g} s are allowed")
    return findings


def _by_date(access: Access, url: str) -> Offset:
    """From a Date header, whose whole seconds add half a second of uncertainty."""
    target = urlsplit(url or access.server + "/version")
    host = target.hostname or ""
    port = target.port or (443 if target.scheme == "https" else 80)
    tls = None if target.scheme != "https" else tls_context() if url else access.tls
    source, date = f"the Date header of {target.scheme}://{target.netloc}", ""
    try:
        exchange = Exchange("GET", target.path or "/", [("Host", target.netloc), ("Connection", "close")])
        with ExitStack() as stack:  # connecting is not part of the response time
            connection = stack.enter_context(socket.create_connection((host, port), RESPONSE_TIMEOUT))
            if tls is not None:
                connection = stack.enter_context(tls.wrap_socket(connection, server_hostname=host))
            stream = Stream(connection, RESPONSE_TIMEOUT)
            before = time.time()
            stream.send(exchange.request)
            date = exchange.read_head(stream.receive).get("date")
            after = time.time()
        theirs = parsedate_to_datetime(date).timestamp() + 0.5
    except (OSError, HttpError) as error:
        raise OSError(f"{source}: {error}") from error
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"{source}: expected a time, got {date[:40]!r}") from error
    return Offset(source, (before + after) / 2 - theirs, 0.5 + (after - before) / 2)


def _by_ntp(server: str) -> Offset:
    """From one request to an NTP server (RFC 5905, section 8)."""
    source = f"NTP server {server}"
    host, _, port = server.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(RESPONSE_TIMEOUT)
        try:
            connection.connect((host, int(port or 123)))
            before = time.time()
            connection.send(_CLIENT)
            answer = connection.recv(128)
            after = time.time()
        except OSError as error:
            raise OSError(f"{source}: {error}") from error
    if len(answer) < 48 or answer[1] in {0, 16}:
        raise ValueError(f"{source}: it is not synchronized itself")
    received, sent = (_unix(answer[start : start + 8]) for start in (32, 40))
    return Offset(source, ((before - received) + (after - sent)) / 2, (after - before) / 2)


def _unix(timestamp: bytes) -> float:
    seconds, fraction = struct.unpack(">II", timestamp)
    return float(seconds - _NTP_TO_UNIX + fraction / 2**32)
