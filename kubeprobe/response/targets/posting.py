"""One POST of JSON with a time limit over all of it, and what its answer means."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from kubeprobe.response.targets.errors import PermanentTargetError, TemporaryTargetError
from kubeprobe.response.targets.secret import redact

TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_SHOWN = 200
_TEMPORARY = frozenset({408, 425, 429})


def post_json(address: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Post a body. Redirects are not followed: what is signed for one address goes to no other.

    Raises TemporaryTargetError when there was no answer or the answer says "later" (408, 425, 429, 5xx),
    PermanentTargetError for every other answer that is not 2xx.
    """
    try:
        status, answer = asyncio.run(_post(address, body, dict(headers or {})))
    except aiohttp.InvalidURL as error:
        raise PermanentTargetError("the target's address is no valid URL; correct the route") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        what = str(error) or type(error).__name__
        raise TemporaryTargetError(redact(f"{_host(address)} gave no answer: {what}", address)) from None
    if 200 <= status < 300:
        return
    kind = TemporaryTargetError if status in _TEMPORARY or status >= 500 else PermanentTargetError
    raise kind(redact(f"{_host(address)} answered {status}: {answer or 'nothing more'}", address))


async def _post(address: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
    headers = {"Content-Type": "application/json", "User-Agent": "kubeprobe", **headers}
    async with (
        aiohttp.ClientSession(timeout=timeout) as client,
        client.post(address, data=body, headers=headers, allow_redirects=False) as response,
    ):
        said = await response.content.read(_ANSWER_SHOWN)
        return response.status, " ".join(said.decode(errors="replace").split())


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or "the target"
    except ValueError:
        return "the target"
