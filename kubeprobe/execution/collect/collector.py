"""The collector process: one event loop, one watch for each cluster that it holds a lease of."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe import metrics
from kubeprobe.clock import Clock
from kubeprobe.execution.collect import leases
from kubeprobe.execution.collect.committer import Committer
from kubeprobe.execution.collect.context import WatchContext, cancelled
from kubeprobe.execution.collect.sweeper import Sweeper
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store

log = structlog.get_logger(__name__)

DEADLINES_EVERY_S = 0.5
SWEEPS_EVERY_S = 1.0
"""How often is asked whether a cluster is to be swept."""


@dataclass(frozen=True)
class CollectorParts:
    """What a collector needs, opened by its process."""

    store: Store
    clients: ClusterClients
    queue: Queue
    settings: Settings
    installation: str
    clock: Clock


class Collector:
    """Watches the clusters of its share until cancelled; gives them back in the end."""

    def __init__(self, name: str, context: CollectorParts) -> None:
        self.name = name
        self._context = context
        self._committer = Committer(context.store, context.queue, context.settings, context.clock)
        self._shared = WatchContext(
            context.store, context.clients, self._committer, context.settings, context.installation, context.clock
        )
        self._sweeper = Sweeper(self._shared)
        self._watches: dict[str, tuple[ClusterWatch, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._leave)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            group.create_task(self._committer.run())
            group.create_task(self._watch_deadlines())
            group.create_task(self._keep_leases())
            group.create_task(self._keep_swept())

    async def _keep_leases(self) -> None:
        """Renew often enough that one renewal may fail without another collector taking over."""
        renewed_at = self._context.clock()
        while True:
            try:
                now = self._context.clock()
                mine = await asyncio.to_thread(
                    leases.renew, self._context.store, self.name, self._context.settings, now
                )
                if now > renewed_at + self._context.settings.lease:  # nobody can take a lease that has not ended
                    metrics.LEASES_LOST.inc(len(self._watches.keys() - {cluster.name for cluster in mine}))
                metrics.LEASES_HELD.set(len(mine))
                renewed_at = now
                await self._follow({cluster.name: cluster for cluster in mine})
            except SQLAlchemyError as error:
                log.error("store away; leases not renewed", error=str(error))
            await asyncio.sleep(self._context.settings.lease.total_seconds() / 4)

    async def _follow(self, mine: dict[str, Cluster]) -> None:
        """Watch exactly these clusters; one whose connection changed is watched anew."""
        for name, (watch, task) in list(self._watches.items()):
            if task.done():
                # Nothing should end it; whatever did must not leave the cluster unwatched.
                log.error("watch died; starting anew", cluster=name, exc_info=task.exception())
                metrics.record_watch_restart("pods", "Crashed")
                del self._watches[name]
                await watch.nodes.want(wanted=False)
                continue
            kept = mine.get(name)
            if kept is not None and _same_way(kept, watch.cluster):
                watch.cluster = kept
                continue
            del self._watches[name]
            await watch.nodes.want(wanted=False)
            await cancelled(task)
        for name in mine.keys() - self._watches.keys():
            watch = ClusterWatch(mine[name], self._shared)
            self._watches[name] = (watch, asyncio.create_task(watch.run(), name=f"watch {name}"))
        for name, (watch, _) in self._watches.items():
            await watch.nodes.want(wanted=mine[name].watches_nodes)

    async def _watch_deadlines(self) -> None:
        while True:
            await asyncio.sleep(DEADLINES_EVERY_S)
            now = self._context.clock()
            for watch, _ in self._watches.values():
                watch.check_deadlines(now)

    async def _keep_swept(self) -> None:
        while True:
            await asyncio.sleep(SWEEPS_EVERY_S)
            now = self._context.clock()
            for watch, _ in self._watches.values():
                self._sweeper.consider(watch, now)

    async def _leave(self) -> None:
        await self._sweeper.close()
        for watch, task in self._watches.values():
            await watch.nodes.want(wanted=False)
            await cancelled(task)
        await self._context.clients.close()
        await asyncio.to_thread(leases.release, self._context.store, self.name)


def _same_way(one: Cluster, other: Cluster) -> bool:
    return (one.connection_version, one.namespace) == (other.connection_version, other.namespace)
