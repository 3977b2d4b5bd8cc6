"""A responder whose system has no more threads loses no message."""

import threading
from typing import Any

import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import deliver
from kubeprobe.response.deliver import BACKOFF, MAX_ATTEMPTS, MAX_CRASHES
from kubeprobe.response.renewal import ClaimRenewals
from kubeprobe.store import TargetHealth
from kubeprobe.vocabulary import NotificationState
from tests.services.response.given import World, fail, recover, send, stored
from tests.services.response.receiver import Receiver

DELIVER: dict[str, Any] = deliver.__globals__


@pytest.mark.parametrize("lacking", ["delivery-claims", "timer"])
def test_a_lack_of_threads_counts_for_no_message_and_no_target(
    world: World, catalogs: CatalogCache, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    world.route("team", {"name": "hook", "apprise": {"url": receiver.url.replace("http://", "json://")}})
    notification = fail(world, catalogs)
    claims = ClaimRenewals()
    monkeypatch.setitem(DELIVER, "_CLAIMS", claims)
    start, now = threading.Thread.start, world.at(1)

    def start_or_fail(thread: threading.Thread) -> None:
        if thread.name == lacking or (lacking == "timer" and isinstance(thread, threading.Timer)):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_or_fail)
        for _ in range(MAX_ATTEMPTS + MAX_CRASHES):
            assert send(world, catalogs, now) is None
            assert claims.list_claims() == []
            now += BACKOFF.first
    row = stored(world, notification)
    assert (row.state, row.rejections, row.crashes) == (NotificationState.PENDING, 0, 0)
    assert "can't start new thread" in row.last_error
    assert not row.may_have_arrived
    assert {health.failures for health in world.all(TargetHealth)} == {0}
    assert receiver.received == []
    assert send(world, catalogs, now) is NotificationState.SENT
    recover(world, catalogs, 60)
    assert send(world, catalogs, world.at(60)) is NotificationState.SENT
    assert [thread.name for thread in threading.enumerate() if thread is claims._thread] == ["delivery-claims"]
