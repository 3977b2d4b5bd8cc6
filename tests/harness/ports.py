"""Loopback ports for servers that a test starts."""

import itertools
import os
import socket

_PER_WORKER = 1_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
_first = 20_000 + _worker * _PER_WORKER
_begin = _first + os.getpid() * 7 % _PER_WORKER
_ports = itertools.cycle([*range(_begin, _first + _PER_WORKER), *range(_first, _begin)])
"""Each parallel worker has its own range, as workers may share a network. All are below Linux' range for outgoing
connections, so that no connection takes a port before its server does."""


def free_port() -> int:
    """A free loopback port; a different one at each call."""
    for port in _ports:
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("unreachable: a cycle never ends")
