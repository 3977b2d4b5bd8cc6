"""Failure modes 21, 25 and 30: redelivered messages, the number of queues, and the memory of Flower."""

import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from honcho.environ import parse_procfile
from kombu import Connection, Consumer
from kombu import Queue as BrokerQueue
from redis import Redis

from kubeprobe.execution.launch import Launcher
from kubeprobe.queue import Queue, RunBatch, celery_config, launch_queue
from kubeprobe.vocabulary import RunState
from tests.harness.wait import until
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import ExecutionWorld

ROOT = Path(__file__).parents[3]
RUN = "01hrun00000000000000000000"
POOLS = ("eu", "us")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_message_redelivered_while_its_run_is_open_creates_no_second_pod(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, valkey: str
) -> None:
    """Failure mode 21. The message is not acknowledged, as by a worker that died, until its visibility timeout."""
    world.reach("there", api.url)
    world.run(RUN, cluster="there")
    pool = "redelivered"
    deliveries: list[Any] = []

    def launch(body: Any, message: Any) -> None:
        launcher.launch(*body[0])
        deliveries.append(message.delivery_tag)

    options = celery_config(valkey)["broker_transport_options"] | {"visibility_timeout": 1}
    with Connection(valkey, transport_options=options) as connection:
        assert Queue.connect(valkey).wake_launchers([RunBatch(pool, "there", (RUN,))])
        queue = BrokerQueue(launch_queue(pool), routing_key=launch_queue(pool))
        with Consumer(connection, [queue], callbacks=[launch], accept=["json"], prefetch_count=0):
            until("the message to come twice", lambda: _drained(connection) and len(deliveries) >= 2)
    assert len(api.pods) == 1
    assert [method for method, _ in api.requests] == ["POST"]
    assert (world.find(RUN).state, world.find(RUN).attempt) == (RunState.RUNNING, 1)


def _drained(connection: Connection) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return True


def test_thousands_of_clusters_share_the_queues_of_their_pools(valkey: str) -> None:
    """Failure mode 25: with a queue for each cluster, a worker would block on thousands of keys."""
    wakes = [RunBatch(POOLS[i % 2], f"c{i:04}", (f"run-{i}",)) for i in range(3000)]
    with Redis.from_url(valkey) as broker:
        broker.flushall()
        assert Queue.connect(valkey).wake_launchers(wakes)
        lists = {key.decode(): broker.llen(key) for key in broker.scan_iter() if broker.type(key) == b"list"}
        broker.flushall()
    assert lists == {launch_queue("eu"): 1500, launch_queue("us"): 1500}


@pytest.mark.parametrize(
    "procfile", [ROOT / "Procfile", resources.files("kubeprobe.up") / "Procfile"], ids=["production", "up"]
)
def test_flower_keeps_a_bounded_number_of_tasks(procfile: Any) -> None:
    """Failure mode 30. Flower parses its own arguments and silently ignores unknown ones."""
    command = shlex.split(parse_procfile(procfile.read_text()).processes["flower"])
    arguments = command[command.index("flower") + 1 :]
    script = (
        "import sys\n"
        "from flower.command import apply_options\n"
        "from tornado.options import options\n"
        "apply_options('flower', [a for a in sys.argv[1:] if '$' not in a])\n"
        "print(options.max_tasks)"
    )
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert int(result.stdout) <= 10_000
