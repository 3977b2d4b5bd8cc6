"""Pushes to a source's repository, told by its Git server: the source is looked at now rather than at its next turn.

A push tells nothing but "look": what is applied is what the branch holds then. So it does no harm to repeat one, and
one that is lost costs no more than the time until the source's next turn. Next: `sources.sync_due`, in a worker.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qs

import orjson
import structlog
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from kubeprobe.app import Installation, request_sync
from kubeprobe.fleet.credentials import SecretKeyError
from kubeprobe.sources import Secret
from kubeprobe.store import Source
from kubeprobe.web.signatures import is_signed

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 5_000_000
"""A push of many commits is told in full; GitHub ends at 25 MB, which nobody needs here."""
BODY_WITHIN_S = 10.0

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])


class Taken(BaseModel):
    """What came of a push."""

    source: str
    woken: bool
    """Whether the source is looked at now."""
    why: str = ""
    """Why it is not."""


@router.post("/{name}/webhook", status_code=202)
async def take_push(name: str, request: Request) -> Taken:
    """Take a push from GitHub, GitLab, Gitea or Forgejo, signed with the source's webhook secret.

    401 where the signature is wrong, and just so where there is no such source or it has no secret; 413 for a body
    that is too large; 400 for one that is no JSON.
    """
    installation: Installation = request.app.state.installation
    body = await _body(request)
    branch = await run_in_threadpool(_check, installation, name, dict(request.headers), body)
    ref = _payload(request.headers.get("content-type", ""), body).get("ref")
    if ref != f"refs/heads/{branch}":
        return Taken(source=name, woken=False, why=f"this is no push to {branch}")
    if not await run_in_threadpool(request_sync, installation, name):
        return Taken(source=name, woken=False, why="the source is paused")
    log.info("a push hastens a source", source=name)
    return Taken(source=name, woken=True)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413, f"The body is too large; at most {MAX_BODY_BYTES:,} bytes are taken.")
    except TimeoutError:
        raise HTTPException(408, f"The body did not arrive within {BODY_WITHIN_S:g} s.") from None
    return bytes(body)


def _check(installation: Installation, name: str, headers: dict[str, str], body: bytes) -> str:
    """The branch of a source, once the push has proved to be from its Git server."""
    with installation.store.reading() as session:
        row = session.get(Source, name)
    try:
        secret = Secret.open(installation.cipher, row.secret if row else None)
    except SecretKeyError as error:
        log.error("a push cannot be checked", source=name, error=str(error))
        raise HTTPException(503, "The source's secret cannot be opened here.") from None
    if not is_signed(headers, body, secret.webhook) or row is None:
        raise HTTPException(401, "The signature does not fit.")
    return row.branch


def _payload(content_type: str, body: bytes) -> dict[str, Any]:
    """The push; GitHub wraps it into a form unless it is told otherwise."""
    text: bytes | str = body
    if content_type.startswith("application/x-www-form-urlencoded"):
        text = parse_qs(body.decode(errors="replace")).get("payload", [""])[0]
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is no JSON.") from None
    return found if isinstance(found, dict) else {}
