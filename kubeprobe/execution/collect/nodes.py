"""Following the nodes of one cluster, so that triggers know them without asking: one list, one watch, few writes.

Of a node only what choosing takes is kept. Kubelets renew their nodes' status all the time; the store hears of a node
when any of that has changed, and of several at once. Next: `trigger` chooses among the rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars

from kubeprobe import metrics
from kubeprobe.execution.collect import node_rows
from kubeprobe.execution.collect.context import FIRST_PAUSE_S, LAST_PAUSE_S, WatchContext, cancelled
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.store import Cluster

log = structlog.get_logger(__name__)

LINGER_S = 0.2
"""What changes within so long is written together."""
REFUSED = frozenset({Cause.FORBIDDEN, Cause.UNAUTHORIZED})
"""What no waiting mends: what was known before is not taken for the present."""


@dataclass(frozen=True)
class NodeFacts:
    """What is kept of a node."""

    name: str
    uid: str
    labels: dict[str, str]
    unschedulable: bool
    ready: bool
    created_at: datetime

    @classmethod
    def read(cls, node: dict[str, Any]) -> Self:
        """Out of a Node of the API."""
        metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            labels=metadata.get("labels") or {},
            unschedulable=bool(spec.get("unschedulable")),
            ready=conditions.get("Ready") == "True",
            created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        )


class NodeWatch:
    """Keeps the rows of one cluster's nodes true while they are wanted."""

    def __init__(
        self, cluster: Cluster, context: WatchContext, on_change: Callable[[Collection[str]], Awaitable[None]]
    ) -> None:
        """`on_change` is told after the nodes were listed, and when some have left (their names)."""
        self._cluster = cluster
        self._context = context
        self._on_change = on_change
        self._known: dict[str, NodeFacts] | None = None
        self._unwritten: set[str] = set()
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def lacks(self, name: str | None) -> bool:
        """Whether a node is known not to be there; while nothing is known, none is."""
        return name is not None and self._known is not None and name not in self._known

    async def want(self, *, wanted: bool) -> None:
        """Begin to follow the nodes, go on, or end it."""
        if self._task is not None and self._task.done():
            log.error("watch of nodes died; starting anew", cluster=self._cluster.name, exc_info=self._task.exception())
            metrics.record_watch_restart("nodes", "Crashed")
            self._task = None
        if wanted and self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"nodes of {self._cluster.name}")
        elif not wanted and self._task is not None:
            await cancelled(self._task)
            self._task, self._known = None, None

    async def _run(self) -> None:
        bind_contextvars(cluster=self._cluster.name)  # for its task, and the two below
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._write_changes())

    async def _follow(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                api = await self._context.clients.get(self._cluster)
                version = await self._list(api)
                pause = FIRST_PAUSE_S
                while True:
                    began = asyncio.get_running_loop().time()
                    version = await self._watch(api, version)
                    if asyncio.get_running_loop().time() - began < FIRST_PAUSE_S:
                        await asyncio.sleep(LAST_PAUSE_S)  # something between us ends watches at once
            except ClusterError as error:
                metrics.record_watch_restart("nodes", error.cause)
                if error.cause is not Cause.GONE:
                    log.warning("nodes not followed", error=error.message)
                if error.cause in REFUSED:
                    await self._give_up(error)
            except (SQLAlchemyError, OSError) as error:
                metrics.record_watch_restart("nodes", "StoreUnavailable")
                log.warning("nodes not followed: store away", error=str(error))
            self._known = None  # until they are listed again, who joined meanwhile is not known
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)

    async def _list(self, api: ClusterApi) -> str:
        nodes, version = await api.list_nodes()
        known = {facts.name: facts for facts in map(NodeFacts.read, nodes)}
        async with self._writing:
            left = await asyncio.to_thread(
                node_rows.replace_all, self._context.store, self._cluster.name, known.values(), self._context.clock()
            )
        self._known = known
        await self._on_change(left)
        return version

    async def _watch(self, api: ClusterApi, version: str) -> str:
        """One watch until the server ends it; gives the version to go on from."""
        async with aclosing(api.watch_nodes(version)) as events, metrics.watching("nodes"):
            async for kind, node in events:
                version = node["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self._see(kind, NodeFacts.read(node))
        return version

    def _see(self, kind: str, facts: NodeFacts) -> None:
        assert self._known is not None, "events follow a list"
        if kind == "DELETED":
            self._known.pop(facts.name, None)
        elif self._known.get(facts.name) == facts:
            return
        else:
            self._known[facts.name] = facts
        self._unwritten.add(facts.name)
        self._changed.set()

    async def _write_changes(self) -> None:
        """Write what has changed, again until the store takes it."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(LINGER_S)
            async with self._writing:
                names, self._unwritten = self._unwritten, set()
                try:
                    await self._write(sorted(names))
                except (SQLAlchemyError, OSError) as error:
                    log.warning("nodes not written: store away", error=str(error))
                    self._unwritten |= names
            if self._unwritten:
                await asyncio.sleep(FIRST_PAUSE_S)
                self._changed.set()

    async def _write(self, names: Sequence[str]) -> None:
        """Nothing, where the nodes are listed anew: that tells all of it."""
        if not names or self._known is None:
            return
        kept = [self._known[name] for name in names if name in self._known]
        left = [name for name in names if name not in self._known]
        await asyncio.to_thread(
            node_rows.change, self._context.store, self._cluster.name, kept, left, self._context.clock()
        )
        if left:
            await self._on_change(left)

    async def _give_up(self, error: ClusterError) -> None:
        told = "permission missing: list and watch nodes" if error.cause is Cause.FORBIDDEN else error.message
        try:
            await asyncio.to_thread(node_rows.forget, self._context.store, self._cluster.name, told)
        except (SQLAlchemyError, OSError) as away:
            log.warning("nodes not forgotten: store away", error=str(away))
