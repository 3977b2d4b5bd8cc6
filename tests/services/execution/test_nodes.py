"""The nodes of a cluster: one that cannot be read has not left."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

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
