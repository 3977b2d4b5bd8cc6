"""The nodes of a cluster: those that cannot be read, or are not followed now, have not left."""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

import pytest
from sqlmodel import select

from kubeprobe.execution.collect.context import WatchContext
from kubeprobe.execution.collect.nodes import NodeWatch
from kubeprobe.fleet.reflector import Deleted, Listed
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Node, Store
from tests.services.execution.given import ExecutionWorld


def node(name: str, **condition: str) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready"} | condition]}}


async def test_a_node_that_cannot_be_read_has_not_left(world: ExecutionWorld, store: Store, now: datetime) -> None:
    world.cluster("prod")
    world.change_cluster("prod", watches_nodes=True)
    nothing, left = cast("Any", None), list[str]()

    async def note(names: Collection[str]) -> None:
        left.extend(names)

    def watch() -> NodeWatch:
        with store.reading() as session:
            cluster = session.get_one(Cluster, "prod")
        context = WatchContext(store, nothing, nothing, Settings(), "i", clock=lambda: now)
        return NodeWatch(cluster, context, nothing, note)

    await watch()._handle(Listed([node("n1", status="True"), node("n2", status="True"), node("n3", status="True")]))
    later = watch()
    await later._handle(Listed([node("n1", status="True"), node("n2")]))
    assert (left, later.has_left("n2"), later.has_left("n3")) == (["n3"], False, True)
    with store.reading() as session:
        assert sorted(session.exec(select(Node.name))) == ["n1", "n2"]
    await later._handle(Deleted(node("n2")))
    assert later.has_left("n2")


async def test_no_node_has_left_once_the_watch_has_crashed(
    world: ExecutionWorld, store: Store, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes may join until the next list."""
    nothing, listed, crash = cast("Any", None), asyncio.Event(), asyncio.Event()
    world.cluster("prod")
    cluster = world.find_cluster("prod")

    async def ignore(_: Collection[str]) -> None: ...

    async def follow(self: NodeWatch) -> None:
        await self._handle(Listed([node("n1", status="True")]))
        listed.set()
        await asyncio.Event().wait()

    async def fail(_: NodeWatch) -> None:
        await crash.wait()
        raise RuntimeError("nobody has thought of this")

    monkeypatch.setattr(NodeWatch, "_follow", follow)
    monkeypatch.setattr(NodeWatch, "_write_changes", fail)
    watch = NodeWatch(cluster, WatchContext(store, nothing, nothing, Settings(), "i", lambda: now), nothing, ignore)
    await watch.set_enabled(enabled=True)
    await listed.wait()
    assert watch.has_left("n2")
    crash.set()
    assert watch._task is not None
    await asyncio.wait((watch._task,))
    assert not watch.has_left("n2")
    listed.clear()
    crash.clear()
    await watch.set_enabled(enabled=True)
    await listed.wait()
    assert watch.has_left("n2")
    await watch.set_enabled(enabled=False)
