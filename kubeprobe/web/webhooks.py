"""Push webhooks of Git servers: a push makes its source due now instead of at its next interval.

Of a push only the branch is used: a sync applies the branch's head at that time. So a repeated push is harmless, and
a lost one only delays the sync until the source's next interval. Next: `sources.sync_due`, in a worker.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qs

import orjson
import structlog
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool

from kubeprobe.app import Installation, find_webhook, request_sync
from kubeprobe.fleet.credentials import SecretKeyError
from kubeprobe.fleet.labels import name_problem
from kubeprobe.store import DatabaseError
from kubeprobe.web.signatures import is_signed

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 5_000_000
"""A push lists its commits. GitHub's own limit is 25 MB, more than is needed here."""
BODY_TIMEOUT_S = 10.0
MAX_BODIES = 20
"""Read and verified at a time: anyone can send one, as the signature is over all of it. The next poll finds what a
refused push would have reported."""

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])


class PushResult(BaseModel):
    """The response to a push."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)

    source: str
    sync_requested: bool
    reason: str = ""
    """Why no sync was requested."""


@router.post("/{name}/webhook", status_code=202)
async def receive_push(name: str, request: Request) -> PushResult:
    """Receive a push from GitHub, GitLab, Gitea or Forgejo, signed with the source's webhook secret.

    401 for an invalid signature, an unknown source, and a source without a webhook secret, so that a caller without
    the secret learns nothing; 400 if the body is not JSON; 408 if it is slow; 413 if it is too large; 503 if many
    others are being received.
    """
    installation: Installation = request.app.state.installation
    bodies: asyncio.Semaphore = request.app.state.webhook_bodies
    if bodies.locked():
        raise HTTPException(503, "Too many pushes at once; try again.", {"Retry-After": f"{BODY_TIMEOUT_S:.0f}"})
    async with bodies:  # until it is verified: with a slow database, bodies would pile up
        body = await _read_body(request)
        branch = await run_in_threadpool(_verify, installation, name, dict(request.headers), body)
    ref = _parse_payload(request.headers.get("content-type", ""), body).get("ref")
    if ref != f"refs/heads/{branch}":
        return PushResult(source=name, sync_requested=False, reason=f"not a push to branch {branch}")
    if not await run_in_threadpool(request_sync, installation, name):
        return PushResult(source=name, sync_requested=False, reason="the source is paused")
    log.info("sync requested by a push", source=name)
    return PushResult(source=name, sync_requested=True)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413, f"The body is too large; the maximum is {MAX_BODY_BYTES:,} bytes.")
    except TimeoutError:
        raise HTTPException(408, f"The body did not arrive within {BODY_TIMEOUT_S:g} s.") from None
    return bytes(body)


def _verify(installation: Installation, name: str, headers: dict[str, str], body: bytes) -> str:
    """The branch of the source, once the push's signature has been verified."""
    if name_problem(name):
        raise HTTPException(401, "Invalid signature.")
    try:
        webhook = find_webhook(installation, name)
    except DatabaseError:
        raise HTTPException(503, "Database unavailable.") from None
    except SecretKeyError as error:
        log.error("push not verified: secret unreadable", source=name, error=str(error))
        raise HTTPException(503, "The source's webhook secret cannot be decrypted by this process.") from None
    if not is_signed(headers, body, webhook.secret):  # never with an empty secret
        raise HTTPException(401, "Invalid signature.")
    return webhook.branch


def _parse_payload(content_type: str, body: bytes) -> dict[str, Any]:
    """The push event. GitHub sends it as a form field unless the webhook is configured for JSON."""
    text: bytes | str = body
    if content_type.startswith("application/x-www-form-urlencoded"):
        text = parse_qs(body.decode(errors="replace")).get("payload", [""])[0]
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HTTPException(400, "The body is not JSON.") from None
    return found if isinstance(found, dict) else {}
