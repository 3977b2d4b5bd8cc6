"""Keeps the rows of one cluster's nodes up to date, so that triggers need no requests: one list, one watch, few writes.

Kubelets renew their nodes' status all the time; a row is written only when a field of NodeFacts has changed, and
several rows at once. Next: `trigger` selects among the rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars

from kubeprobe import metrics
from kubeprobe.execution.collect import node_rows
from kubeprobe.execution.collect.context import WatchContext, cancel_and_wait
from kubeprobe.execution.collect.node_rows import NodeFacts
from kubeprobe.execution.collect.troubles import Troubles, WatchTrouble
from kubeprobe.fleet.api import NODES_PATH, ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.reflector import Changed, Deleted, Event, Listed, ListFailed, Malformed, Reflector, WatchFailed
from kubeprobe.store import Cluster

log = structlog.get_logger(__name__)

LINGER_S = 0.2
"""Changes within so long are written together."""
PAUSE_S = 0.5
"""Before changes are written again that could not be written."""
REFUSED = frozenset({Cause.FORBIDDEN, Cause.UNAUTHORIZED})
"""Errors that do not resolve by themselves: the rows are deleted."""


class NodeWatch:
    """Keeps the rows of one cluster's nodes up to date while it is enabled."""

    def __init__(
        self,
        cluster: Cluster,
        context: WatchContext,
        connect: Callable[[], Awaitable[ClusterApi]],
        on_change: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        """`on_change` is called after a list, and when nodes have left, with their names."""
        self._cluster = cluster
        self._context = context
        self._on_change = on_change
        self._reflector = Reflector(connect, NODES_PATH, measured_as="nodes")
        self._known: dict[str, NodeFacts] | None = None
        self._unreadable: set[str] = set()
        """Nodes that are there, but not in `_known`."""
        self._troubles = Troubles()
        self._watching = WatchTrouble("nodes", context.clock)
        self._unwritten: set[str] = set()
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def has_left(self, name: str | None) -> bool:
        """Whether the cluster has no such node. False while the nodes are not listed."""
        return name is not None and self._known is not None and name not in self._known and name not in self._unreadable

    async def set_enabled(self, *, enabled: bool) -> None:
        """Start or stop watching the nodes."""
        if self._task is not None and self._task.done():
            error = self._task.exception()
            log.error("node watch failed; restarting it", cluster=self._cluster.name, exc_info=error)
            metrics.record_watch_failure("nodes", "Crashed")
            self._watching.note_crash(error)
            self._task = None
        if enabled and self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"nodes of {self._cluster.name}")
        elif not enabled and self._task is not None:
            await cancel_and_wait(self._task)
            self._task = None

    async def _run(self) -> None:
        bind_contextvars(cluster=self._cluster.name)  # for its task, and those of its group
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._write_changes())
        finally:
            self._known = None  # until the next list: nodes that join meanwhile are not known

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._reflector.events()) as events:
                    async for event in events:
                        await self._handle(event)
            except (SQLAlchemyError, OSError) as error:
                self._known = None
                metrics.record_watch_failure("nodes", "StoreUnavailable")
                log.warning("database unavailable; nodes not listed", error=str(error))
            except Exception as error:  # a fault of KubeProbe: listed again after a pause, which grows
                self._known = None
                metrics.record_watch_failure("nodes", "Crashed")
                self._watching.note_crash(error)
                log.exception("node watch failed; listing again")

    async def _handle(self, event: Event) -> None:
        match event:
            case Listed(nodes):
                self._troubles.clear()
                read = {node["metadata"]["name"]: self._read(node) for node in nodes}
                self._unreadable = {name for name, facts in read.items() if facts is None}
                await self._replace({name: facts for name, facts in read.items() if facts is not None})
            case Changed(node):
                if facts := self._read(node):
                    self._unreadable.discard(facts.name)
                    self._change(facts)
                else:
                    self._unreadable.add(node["metadata"]["name"])
            case Deleted(node):
                self._troubles.remove(node["metadata"]["name"])
                self._unreadable.discard(node["metadata"]["name"])
                self._remove(node["metadata"]["name"])
            case Malformed(problem):
                metrics.record_set_aside("nodes")
                self._troubles.add("", problem)
            case ListFailed(error) | WatchFailed(error):
                self._known = None  # until the next list: nodes that join meanwhile are not known
                if error.cause is not Cause.GONE:
                    log.warning("nodes not followed", cause=error.cause, error=error.message)
                if error.cause in REFUSED:  # shown by `Cluster.nodes_error`
                    await self._clear(error)
                else:
                    self._watching.note_failure(error)

    def _read(self, node: dict[str, Any]) -> NodeFacts | None:
        """None for a node that cannot be read: it is set aside, and stays as it was last known."""
        name = node["metadata"]["name"]
        try:
            facts = NodeFacts.read(node)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            metrics.record_set_aside("nodes")
            if self._troubles.add(name, f"cannot be read: {error!r}"):
                log.warning("node set aside", node=name, error=repr(error))
            return self._known.get(name) if self._known is not None else None
        self._troubles.remove(name)
        return facts

    @property
    def trouble(self) -> str:
        """What is wrong with nodes, for people; empty: nothing."""
        return "; ".join(filter(None, (self._watching.describe(), self._troubles.describe("nodes set aside"))))

    async def _replace(self, known: dict[str, NodeFacts]) -> None:
        async with self._writing:
            left = await asyncio.to_thread(
                node_rows.replace_all,
                self._context.store,
                self._cluster.name,
                known.values(),
                self._context.clock(),
                self._unreadable,
            )
        self._known = known
        self._watching.note_list()
        await self._on_change(left)

    def _change(self, facts: NodeFacts) -> None:
        assert self._known is not None, "events follow a list"
        if self._known.get(facts.name) != facts:
            self._known[facts.name] = facts
            self._note_change(facts.name)

    def _remove(self, name: str) -> None:
        assert self._known is not None, "events follow a list"
        self._known.pop(name, None)
        self._note_change(name)

    def _note_change(self, name: str) -> None:
        self._unwritten.add(name)
        self._changed.set()

    async def _write_changes(self) -> None:
        """Write changes, again until the database accepts them."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(LINGER_S)
            async with self._writing:
                names, self._unwritten = self._unwritten, set()
                try:
                    await self._write(sorted(names))
                except (SQLAlchemyError, OSError) as error:
                    log.warning("database unavailable; nodes not written", error=str(error))
                    self._unwritten |= names
            if self._unwritten:
                await asyncio.sleep(PAUSE_S)
                self._changed.set()

    async def _write(self, names: Sequence[str]) -> None:
        """Nothing to do if the nodes are being listed again: the list is complete."""
        if not names or self._known is None:
            return
        kept = [self._known[name] for name in names if name in self._known]
        left = [name for name in names if name not in self._known]
        await asyncio.to_thread(
            node_rows.update_some, self._context.store, self._cluster.name, kept, left, self._context.clock()
        )
        if left:
            await self._on_change(left)

    async def _clear(self, error: ClusterError) -> None:
        message = "permission missing: list and watch nodes" if error.cause is Cause.FORBIDDEN else error.message
        try:
            await asyncio.to_thread(node_rows.clear, self._context.store, self._cluster.name, message)
        except (SQLAlchemyError, OSError) as failure:
            log.warning("database unavailable; nodes not cleared", error=str(failure))
