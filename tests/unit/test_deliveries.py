"""The threads of a responder that send to targets."""

import threading
from collections.abc import Callable, Iterator

import pytest

from kubeprobe.execution.loop import LoopThread
from kubeprobe.response.claim import MAX_CONCURRENT
from kubeprobe.response.routes import TargetRef
from workers import deliveries
from workers.deliveries import Deliveries

WAIT_S = 30
ONE, TWO = TargetRef("one", "hook"), TargetRef("two", "hook")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


class Sender:
    """Sends to a target until it is released; counts the threads that do."""

    def __init__(self) -> None:
        self.released, self.started = threading.Event(), threading.Semaphore(0)
        self.sent: list[TargetRef] = []

    def __call__(self, to: TargetRef, start_another: Callable[[], object]) -> bool:
        self.sent.append(to)
        self.started.release()
        self.released.wait(WAIT_S)
        return False


def test_a_target_has_a_few_threads_and_takes_none_of_others(loop: LoopThread) -> None:
    sender = Sender()
    sending = Deliveries(sender, loop)
    for _ in range(2 * MAX_CONCURRENT):
        sending.start(ONE)
    sending.start(TWO)
    for _ in range(MAX_CONCURRENT + 1):
        assert sender.started.acquire(timeout=WAIT_S)
    assert sorted(sender.sent) == [ONE] * MAX_CONCURRENT + [TWO]
    sender.released.set()
    sending.close()
    sending.start(ONE)
    assert len(sender.sent) == MAX_CONCURRENT + 1, "none is started after the end"


def test_an_unfinished_target_goes_on_after_an_error_of_another(loop: LoopThread) -> None:
    done, turns = threading.Event(), 0

    def send(to: TargetRef, start_another: Callable[[], object]) -> bool:
        nonlocal turns
        if to == TWO:
            raise LookupError
        turns += 1
        if turns == 3:
            done.set()
        return turns < 3

    sending = Deliveries(send, loop)
    sending.start(TWO)
    sending.start(ONE)
    assert done.wait(WAIT_S)
    sending.close()
    assert turns == 3


def test_the_end_of_a_worker_does_not_wait_for_a_stalled_target(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SHUTDOWN_S", 0.05)
    earlier = set(threading.enumerate())
    sender = Sender()
    sending = Deliveries(sender, loop)
    sending.start(ONE)
    assert sender.started.acquire(timeout=WAIT_S)
    sending.close()
    started = set(threading.enumerate()) - earlier
    assert [thread.daemon for thread in started if thread.name == "delivery"] == [True]
    sender.released.set()
