"""Services of Apprise that stall: each has a thread of its own, and no message is sent twice at a time."""

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.catalog.model.route import AppriseTarget
from kubeprobe.response import deliver, due_targets, respond
from kubeprobe.response.claim import LEASE
from kubeprobe.response.routes import TargetRef
from kubeprobe.response.targets import Delivery, TemporaryTargetError, apprise
from kubeprobe.store import Notification
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.harness.wait import until
from tests.services.response.given import World
from tests.services.response.receiver import receiving
from tests.unit.fleet.certificates import Authority, server_context
from tests.unit.response.given import NOON, message

SENT, PENDING = NotificationState.SENT, NotificationState.PENDING
STALLED = 20
"""More than the threads that Apprise has for all of its services."""


def test_a_stalled_service_holds_up_no_other_and_its_message_is_not_repeated_beside_itself(
    world: World, catalogs: CatalogCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apprise, "limit_timeout", lambda _: 600.0)  # the calls end with the receiver
    monkeypatch.setattr(apprise, "TIMEOUT_S", 600.0)
    names, now = [f"stalled-{number}" for number in range(STALLED)], world.at(1)

    def send(name: str) -> NotificationState | None:
        return deliver(world.store, catalogs, TargetRef(name, "hook"), lambda: now)

    with receiving() as good, ThreadPoolExecutor(STALLED) as pool:
        world.route("good", {"name": "hook", "apprise": {"url": good.url.replace("http://", "json://")}})
        with receiving() as stalled:
            stalled.answers = [None]
            for name in names:
                world.route(name, {"name": "hook", "apprise": {"url": stalled.url.replace("http://", "json://")}})
            world.outcome(Verdict.FAIL, 1)
            respond(world.store, catalogs, now)
            calls = [pool.submit(send, name) for name in names]
            until("every stalled service to have a request", lambda: len(stalled.received) == STALLED)
            assert send("good") is SENT
            assert len(good.received) == 1
            now += LEASE
            assert {send(name) for name in names} == {None}
            assert due_targets(world.store, now) == [], "the claims are renewed"
            assert len(stalled.received) == STALLED
        assert {call.result() for call in calls} == {PENDING}, "each call ends, and its result is recorded"
    assert {row.attempts for row in world.all(Notification)} == {1}


@contextmanager
def trickling(
    first: bytes, context: ssl.SSLContext | None = None, *, greets: bool = False
) -> Iterator[tuple[int, list[bytes]]]:
    """A server that sends `first` and then a byte at a time, without end; its port, and the requests' beginnings.

    `greets`: it does not wait for a request.
    """
    stop, requests = threading.Event(), list[bytes]()

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    def answer(accepted: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(accepted, server_side=True) if context else accepted as opened:
            requests.append(b"" if greets else opened.recv(16))
            opened.sendall(first)
            while not stop.wait(0.02):
                opened.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], requests
        stop.set()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("is_encrypted", [False, True])
@pytest.mark.parametrize(
    ("service", "first"),
    [("json", b"HTTP/1."), ("json", b"HTTP/1.1 503 Unavailable\r\nX-Padding: "), ("mailto", b"220 ")],
)
def test_a_call_ends_however_slowly_the_service_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    first: bytes,
    is_encrypted: bool,  # noqa: FBT001
) -> None:
    """Also if its address sets endless time-outs and further attempts."""
    monkeypatch.setattr(apprise, "TIMEOUT_S", 1.0)
    context = server_context(Authority().issue("service", host="127.0.0.1"), tmp_path) if is_encrypted else None
    with trickling(first, context, greets=service == "mailto") as (port, requests):
        scheme, mode = (f"{service}s", "ssl") if is_encrypted else (service, "insecure")
        mail = f"smtp=127.0.0.1&mode={mode}&from=me@example.com&to=you@example.com"
        url = f"{scheme}://127.0.0.1:{port}/?rto=inf&cto=1e300&retry=3&wait=9&verify=no&{mail}"
        with pytest.raises(TemporaryTargetError) as caught:
            apprise.send(AppriseTarget(url=url), message(), Delivery("01delivery", 1, NOON))
        assert caught.value.may_have_arrived
        assert len(requests) <= 1, "no attempts of its own; on a slow machine not even the handshake ends"


@pytest.mark.parametrize(("seconds", "limited"), [(4.0, 4.0), (0, 10.0), (-1, 10.0), (1e9, 10.0), (float("nan"), 10.0)])
def test_the_time_outs_of_an_address_are_limited(seconds: float, limited: float) -> None:
    assert apprise.limit_timeout(seconds) == limited
