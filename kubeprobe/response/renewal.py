"""Renews the claims of the messages that this process is sending, so that leases are short and sends may be slow.

If the process is killed, its claims end after one lease. While it lives, no other worker sends what it is still
sending, however long the target takes, and no message about the same subject is sent before that has ended.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import update

from kubeprobe.clock import Clock
from kubeprobe.response.claim import LEASE, Claimed, is_claim
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Notification, Store
from kubeprobe.store.engine import DatabaseError

log = structlog.get_logger(__name__)

RENEW_EVERY = timedelta(seconds=5)


@dataclass(eq=False)
class _Sending:
    store: Store
    clock: Clock
    claimed: Claimed
    lease: datetime
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the claim is renewed."""
    has_ended: bool = False


class ClaimRenewals:
    """The claims of a process. One daemon thread renews them, from the first claim on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sending: set[_Sending] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def renewing(self, store: Store, claimed: Claimed, clock: Clock) -> Iterator[None]:
        """Renew the claim while the block runs."""
        sending = _Sending(store, clock, claimed, clock() + LEASE)
        with self._lock:
            self._sending.add(sending)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_repeatedly, name="delivery-claims", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._sending.discard(sending)
            with sending.lock:
                sending.has_ended = True

    def renew(self) -> None:
        """Renew all claims."""
        for sending in self._list():
            _renew(sending, sending.clock())

    def renew_lapsed(self, to: TargetRef, now: datetime) -> None:
        """Renew the claims of messages to a target that could not be renewed in time: they are still being sent."""
        for sending in self._list():
            if sending.claimed.to == to and sending.lease <= now:
                _renew(sending, now)

    def _list(self) -> list[_Sending]:
        with self._lock:
            return list(self._sending)

    def _renew_repeatedly(self) -> None:
        while True:
            time.sleep(RENEW_EVERY.total_seconds())
            try:
                self.renew()
            except Exception:
                log.exception("claims not renewed")


def _renew(sending: _Sending, now: datetime) -> None:
    """Unless another worker has claimed the message, or it has been sent."""
    lease = now + LEASE
    with sending.lock:
        if sending.has_ended:
            return
        try:
            with sending.store.writing() as session:
                session.execute(update(Notification).where(is_claim(sending.claimed)).values(next_attempt_at=lease))
            sending.lease = lease
        except DatabaseError as error:  # the next renewal may be in time
            log.warning("claim not renewed", notification=sending.claimed.id, error=str(error))
