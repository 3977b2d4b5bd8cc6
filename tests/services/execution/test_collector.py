"""The clusters that a collector watches."""

import threading
from datetime import datetime
from typing import Any, cast

import pytest
from cryptography.fernet import Fernet
from structlog.testing import capture_logs

from kubeprobe.execution import locations
from kubeprobe.execution.collect.collector import Collector, CollectorContext
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from tests.services.execution.given import ExecutionWorld


async def test_a_secret_key_that_cannot_be_read_delays_new_watches_only(
    world: ExecutionWorld, store: Store, settings: Settings, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, states = threading.Event(), list[bool]()
    released.set()

    class Silent(Cipher):
        def open(self, sealed: bytes) -> Connection:
            released.wait()
            return super().open(sealed)

    async def enable(self: NodeWatch, *, enabled: bool) -> None:
        del self
        states.append(enabled)

    monkeypatch.setattr(NodeWatch, "set_enabled", enable)
    clients = ClusterClients(Silent(Fernet.generate_key().decode()))
    context = CollectorContext(store, clients, cast("Any", None), settings, "i", lambda: now)
    collector = Collector("one", context)
    for name in ("known", "new"):
        world.reach(name, "http://127.0.0.1:1", watches_nodes=True)
    known, new = world.find_cluster("known"), world.find_cluster("new")
    await collector._watch_exactly({"known": known})
    released.clear()
    states.clear()
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(locations, "READ_WITHIN_S", 0.05)
        await collector._watch_exactly({"known": known, "new": new})
    released.set()
    assert (list(collector._watches), states) == (["known"], [True])
    [line] = [line for line in logs if line["log_level"] == "error"]
    assert line["event"] == "locations of clusters not read; clusters not watched yet"
    assert (line["clusters"], line["error"]) == (1, "the secret key was not read within 0.05 s")
    await collector._watch_exactly({"known": known, "new": new})
    assert list(collector._watches) == ["known", "new"]
    await collector._watch_exactly({})
    await clients.close()
