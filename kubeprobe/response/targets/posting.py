"""One POST of JSON with a time limit for the whole request, and the error for its response."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from kubeprobe.response.targets.errors import PermanentTargetError, TemporaryTargetError
from kubeprobe.response.targets.secret import redact

TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_MAX_SHOWN = 200
_TEMPORARY = frozenset({408, 425, 429})


def post_json(address: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Post a body. Redirects are not followed: a signed body is sent only to the address it was signed for.

    Raises TemporaryTargetError without a response and for 408, 425, 429 and 5xx, PermanentTargetError for every other
    status that is not 2xx.
    """
    try:
        status, shown = asyncio.run(_post(address, body, dict(headers or {})))
    except aiohttp.InvalidURL as error:
        raise PermanentTargetError("the target's address is an invalid URL; correct the route") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        detail = str(error) or type(error).__name__
        raise TemporaryTargetError(redact(f"no response from {_host(address)}: {detail}", address)) from None
    if 200 <= status < 300:
        return
    kind = TemporaryTargetError if status in _TEMPORARY or status >= 500 else PermanentTargetError
    raise kind(redact(f"{_host(address)} responded {status}: {shown or 'empty body'}", address))


async def _post(address: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
    headers = {"Content-Type": "application/json", "User-Agent": "kubeprobe", **headers}
    async with (
        aiohttp.ClientSession(timeout=timeout) as client,
        client.post(address, data=body, headers=headers, allow_redirects=False) as response,
    ):
        start = await response.content.read(_MAX_SHOWN)
        return response.status, " ".join(start.decode(errors="replace").split())


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or "the target"
    except ValueError:
        return "the target"
