"""Renews the claims of the messages that this process is sending, so that leases are short and sends may be slow.

If the process is killed, its claims end after one lease. While it lives, no other worker sends what it is still
sending, however long the target takes, and no message about the same subject is sent before that has ended; unless the
database is unavailable for longer than a lease.
"""

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy import select, update
from sqlmodel import col

from kubeprobe.clock import Clock
from kubeprobe.fleet.errors import LocalResourceError
from kubeprobe.response.claim import LEASE, Claimed, is_claim
from kubeprobe.store import Notification, Store
from kubeprobe.store.engine import DatabaseError

log = structlog.get_logger(__name__)

RENEW_EVERY = timedelta(seconds=5)


class ClaimLostError(Exception):
    """The claim lapsed before its message was sent, and another worker has claimed it."""


@dataclass(frozen=True, eq=False)
class _Sending:
    store: Store
    clock: Clock
    claimed: Claimed
    renewing: threading.Lock = field(default_factory=threading.Lock)
    """Held while the claim is renewed."""


class ClaimRenewals:
    """The claims of a process. One daemon thread renews them, from the first claim on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sending: set[_Sending] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def renewing(self, store: Store, claimed: Claimed, clock: Clock) -> Iterator[None]:
        """Renew the claim while the block runs, and before it if the commit of the claim took long.

        No renewal uses the store afterwards. The block ends outside of a transaction: a renewal may wait for its locks.
        Raises ClaimLostError; LocalResourceError: the system has no more threads.
        """
        sending = _Sending(store, clock, claimed)
        try:
            with self._lock:
                self._sending.add(sending)
                self._start_thread()
            if clock() > claimed.lease - LEASE + RENEW_EVERY and not _renew(sending):
                raise ClaimLostError
            yield
        finally:
            with self._lock:
                self._sending.discard(sending)
            with sending.renewing:  # until a renewal that has begun has ended
                pass

    def renew(self) -> None:
        """Renew all claims."""
        for sending in self._list():
            with sending.renewing:
                if sending in self._sending:
                    _renew(sending)

    def list_claims(self) -> list[Claimed]:
        """The claims of the messages that are still being sent."""
        return [sending.claimed for sending in self._list()]

    def _list(self) -> list[_Sending]:
        with self._lock:
            return list(self._sending)

    def _start_thread(self) -> None:
        """Once. The lock is held."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._renew_repeatedly, name="delivery-claims", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise LocalResourceError(errno.EAGAIN, str(error)) from error
        self._thread = thread

    def _renew_repeatedly(self) -> None:
        while True:
            time.sleep(RENEW_EVERY.total_seconds())
            try:
                self.renew()
            except Exception:
                log.exception("claims not renewed")


def _renew(sending: _Sending) -> bool:
    """Whether the claim is still this worker's, as far as is known: the database may be unavailable."""
    found = select(col(Notification.id)).where(is_claim(sending.claimed))
    try:
        with sending.store.writing() as session:
            if session.execute(found.with_for_update()).first() is None:
                return False
            lease = sending.clock() + LEASE  # not before: the wait for the row can be longer than a lease
            session.execute(update(Notification).where(is_claim(sending.claimed)).values(next_attempt_at=lease))
    except DatabaseError as error:  # the next renewal may be in time
        log.warning("claim not renewed", notification=sending.claimed.id, error=str(error))
    return True
