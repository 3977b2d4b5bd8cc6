"""Host names of clusters and targets: resolved by the operating system, in threads of their own, within a time limit.

The system's resolver honours /etc/hosts, nsswitch.conf and the options of resolv.conf, but blocks a thread for up to
half a minute if a name server is silent.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.errors import LocalResourceError, QueueTimeoutError

RESOLVE_TIMEOUT_S = 5.0
"""One name, the time in the queue included."""
_Address = tuple[Any, ...]
_NAMES: BlockingCalls[list[_Address]] = BlockingCalls("cluster-names", limit=32, slow_limit=256)


class BoundedResolver(AbstractResolver):
    """The resolver of a session of aiohttp. `calls`: the threads it uses; `look_up`: as `socket.getaddrinfo`."""

    def __init__(
        self,
        look_up: Callable[..., list[_Address]] = socket.getaddrinfo,
        calls: BlockingCalls[list[_Address]] = _NAMES,
    ) -> None:
        self._look_up = look_up
        self._calls = calls

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError; LocalResourceError if no name server could be queried."""

        def look_up() -> list[_Address]:
            try:
                # Without AI_ADDRCONFIG, as Go: with it, localhost has no address where only loopback is up.
                return self._look_up(host, None, type=socket.SOCK_STREAM, family=family)
            except socket.gaierror:
                _check_descriptors()
                raise

        try:
            found = await self._calls.run((host, family), look_up, RESOLVE_TIMEOUT_S)
        except QueueTimeoutError:
            raise
        except TimeoutError:
            raise OSError(None, f"no name server responded within {RESOLVE_TIMEOUT_S:g} s") from None
        except UnicodeError as error:  # a label that is too long
            raise OSError(None, f"it is not a host name: {error}") from None
        return [
            ResolveResult(hostname=host, host=_numeric(address), port=port, family=kind, proto=protocol, flags=_NUMERIC)
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing: threads end by themselves."""


def _check_descriptors() -> None:
    """Raise LocalResourceError if no file can be opened: the C library then reports that a name does not exist."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise LocalResourceError(error.errno, error.strerror) from None


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _numeric(address: _Address) -> str:
    """The address; a link-local one of IPv6 needs its interface."""
    host, scope = str(address[0]), address[3] if len(address) == 4 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host
