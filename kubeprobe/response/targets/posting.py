"""One POST of JSON with a time limit for the whole request, and the error for its response."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.resolver import BoundedResolver
from kubeprobe.response.targets.errors import PermanentTargetError, TemporaryTargetError
from kubeprobe.response.targets.secret import redact

TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_BODY_TIMEOUT_S = 1.0
"""For the start of the body of a refusal, which is only shown."""
_MAX_SHOWN = 200
_TEMPORARY = frozenset({408, 425, 429})
_REFUSED = frozenset({501, 503, 505})
"""Of 5xx: statuses of servers that did not work on the request. After any other it may have been accepted."""
_LONGEST = timedelta(days=1)
_NAMES: BlockingCalls[list[Any]] = BlockingCalls("target-names", limit=8, slow_limit=32)


class _Response(NamedTuple):
    status: int
    shown: str
    retry_after: timedelta | None


def post_json(address: str, body: bytes, now: datetime, headers: Mapping[str, str] | None = None) -> None:
    """Post a body. Redirects are not followed: a signed body is sent only to the address it was signed for.

    The status decides, whatever happens to the response's body. Raises TemporaryTargetError without a response and for
    408, 425, 429 and 5xx, PermanentTargetError for every other status that is not 2xx.
    """
    try:
        status, shown, retry_after = asyncio.run(_post(address, body, dict(headers or {}), now))
    except (aiohttp.InvalidURL, UnicodeError) as error:
        raise PermanentTargetError("the target's address is an invalid URL; correct the route") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        detail = redact(f"no response from {_host(address)}: {str(error) or type(error).__name__}", address)
        is_connected = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        raise TemporaryTargetError(detail, may_have_arrived=is_connected) from None
    if 200 <= status < 300:
        return
    text = redact(f"{_host(address)} responded {status}: {shown or 'empty body'}", address)
    if is_temporary(status):
        arrived = status >= 500 and status not in _REFUSED
        raise TemporaryTargetError(text, may_have_arrived=arrived, retry_after=retry_after)
    raise PermanentTargetError(text)


def is_temporary(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _TEMPORARY or status >= 500


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """How long to wait, by a `Retry-After` header: seconds or an HTTP date (RFC 9110, 10.2.3).

    At most a day, not negative; None for what is neither.
    """
    value = (value or "")[:64].strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value), int(_LONGEST.total_seconds())))
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(moment - now, timedelta()), _LONGEST)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


async def _post(address: str, body: bytes, headers: dict[str, str], now: datetime) -> _Response:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
    headers = {"Content-Type": "application/json", "User-Agent": "kubeprobe", **headers}
    connector = aiohttp.TCPConnector(resolver=BoundedResolver(calls=_NAMES))
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as client,
        client.post(address, data=body, headers=headers, allow_redirects=False) as response,
    ):
        retry_after = parse_retry_after(response.headers.get("Retry-After"), now)
        return _Response(response.status, await _start_of_body(response), retry_after)


async def _start_of_body(response: aiohttp.ClientResponse) -> str:
    """A little of the body of a refusal. Nothing that the body does can change what the status said."""
    if response.ok:
        return ""
    start = b""
    with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            start = await response.content.read(_MAX_SHOWN)
    return " ".join(start.decode(errors="replace").split())


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or "the target"
    except ValueError:
        return "the target"
