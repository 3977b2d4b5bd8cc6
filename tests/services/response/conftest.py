"""Fixtures of the response tests."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.store import Store
from tests.services.response.given import World
from tests.services.response.receiver import Receiver, receiving


@pytest.fixture
def world(store: Store, now: datetime) -> World:
    """A store with one cluster and one case."""
    made = World(store, now)
    made.cluster("prod-1", region="eu")
    made.case()
    return made


@pytest.fixture
def catalogs() -> CatalogCache:
    """A process's copy of the catalog."""
    return CatalogCache()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A web server that records requests."""
    with receiving() as made:
        yield made


@pytest.fixture
def hook(world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """A signed webhook that receives all alerts."""
    monkeypatch.setenv("HOOK_SECRET", "hush-hush")
    target = {"url": f"{receiver.url}/hooks/T0KEN?key=k3yk3y", "secretFrom": {"env": "HOOK_SECRET"}}
    world.route("team", {"name": "hook", "webhook": target})
    return receiver
