"""Failure mode 23: workers end although the broker is frozen."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from kubeprobe.queue import celery_config
from tests.harness.freeze import frozen
from tests.harness.installation import Installation
from tests.harness.wait import until


@pytest.mark.soak  # Celery takes most of a minute to detect that the broker does not answer
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_launcher_ends_at_sigterm_while_the_broker_is_frozen(tmp_path: Path, database_url: str) -> None:
    with Installation(tmp_path, database_url) as installation:
        installation.start("valkey")
        installation.start("launcher")
        until("the launcher to be ready", lambda: "ready." in installation.log("launcher"), within_s=120)
        assert heartbeat(installation.broker_url)["hostname"].startswith("launcher-")
        pids = installation.pids()
        with frozen(pids["valkey.0"]):
            until("a request without an answer", lambda: "Timeout" in installation.log("launcher"), within_s=40)
            os.killpg(pids["launcher.0"], signal.SIGTERM)
            until("the launcher to end", lambda: installation.ended() == ["launcher.0"], within_s=40)


def heartbeat(broker_url: str) -> Any:
    """The next heartbeat of a worker, as Flower receives it."""
    app, seen = Celery(set_as_current=False), list[Any]()
    app.conf.update(celery_config(broker_url))
    with app.connection_for_read() as connection:

        def receive(event: Any) -> None:
            seen.append(event)
            receiver.should_stop = True

        receiver = app.events.Receiver(connection, handlers={"worker-heartbeat": receive})
        receiver.capture(limit=None, timeout=30)
    return seen[0]
