"""The collector process: one event loop, one watch for each cluster that it has leased."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col

from kubeprobe import metrics
from kubeprobe.catalog.version import lock_clusters
from kubeprobe.clock import Clock
from kubeprobe.execution.collect.committer import Committer
from kubeprobe.execution.collect.context import WatchContext, cancel_and_wait
from kubeprobe.execution.collect.former import FormerLocations
from kubeprobe.execution.collect.leases import Leases
from kubeprobe.execution.collect.sweeper import Sweeper
from kubeprobe.execution.collect.watch import TROUBLE_LENGTH, ClusterWatch
from kubeprobe.execution.locations import has_same_connection, location_ids
from kubeprobe.execution.report import without_nul
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store, update_each

log = structlog.get_logger(__name__)

DEADLINES_EVERY_S = 0.5
SWEEPS_EVERY_S = 1.0
"""How often it is checked which clusters are due for a sweep."""
WRITTEN_AT_ONCE = 500
"""Clusters whose trouble one statement writes."""


@dataclass(frozen=True)
class CollectorContext:
    """What a collector needs, created by its process."""

    store: Store
    clients: ClusterClients
    queue: Queue
    settings: Settings
    installation: str
    clock: Clock


class Collector:
    """Watches the clusters of its share until cancelled, and then releases them."""

    def __init__(self, name: str, context: CollectorContext) -> None:
        self.name = name
        self._context = context
        self._leases = Leases(context.store, name, context.settings)
        self._committer = Committer(context.store, context.queue, context.settings, context.clock)
        self._shared = WatchContext(
            context.store, context.clients, self._committer, context.settings, context.installation, context.clock
        )
        self._sweeper = Sweeper(self._shared)
        self._watches: dict[str, tuple[ClusterWatch, asyncio.Task[None]]] = {}
        self._former = FormerLocations(self._shared)
        self._pause_s = context.settings.lease.total_seconds() / 4
        """Between renewals: one may fail without another collector taking over."""

    async def run(self) -> None:
        """Collect until cancelled."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._shut_down)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            group.create_task(self._committer.run())
            group.create_task(self._check_deadlines())
            group.create_task(self._renew_leases())
            group.create_task(self._follow_former_locations())
            group.create_task(self._sweep_due_clusters())

    async def _renew_leases(self) -> None:
        renewed_at = self._context.clock()
        while True:
            try:
                now = self._context.clock()
                mine = await asyncio.to_thread(self._leases.renew, now)
                if now > renewed_at + self._context.settings.lease:  # until then no other collector can take a lease
                    metrics.LEASES_LOST.inc(len(self._watches.keys() - {cluster.name for cluster in mine}))
                metrics.LEASES_HELD.set(len(mine))
                renewed_at = now
                await self._watch_exactly({cluster.name: cluster for cluster in mine})
                await self._record_troubles()
            except SQLAlchemyError as error:
                log.error("database unavailable; leases not renewed", error=str(error))
            except Exception:
                log.exception("leases not renewed")
            await asyncio.sleep(self._pause_s)

    async def _watch_exactly(self, mine: dict[str, Cluster]) -> None:
        """Watch these clusters and no other; a cluster whose connection changed gets a new watch."""
        ended = []
        for name, (watch, task) in self._watches.items():
            kept = mine.get(name)
            if task.done():
                # An unexpected error ended it: watch the cluster again.
                log.error("watch failed; restarting it", cluster=name, exc_info=task.exception())
                metrics.record_watch_failure("pods", "Crashed")
                ended.append(name)
            elif kept is not None and has_same_connection(kept, watch.cluster):
                watch.cluster = kept
            else:
                ended.append(name)
        await self._end(ended)
        new = [mine[name] for name in mine.keys() - self._watches.keys()]
        for name, location in (await self._locate(new)).items():
            watch = ClusterWatch(mine[name], self._shared, location)
            self._watches[name] = (watch, asyncio.create_task(watch.run(), name=f"watch {name}"))
        for name, (watch, _) in self._watches.items():
            await watch.nodes.set_enabled(enabled=mine[name].watches_nodes)

    async def _locate(self, clusters: Sequence[Cluster]) -> dict[str, str]:
        """The locations of these clusters; none if they cannot be read now."""
        try:
            return await location_ids(clusters, self._context.clients)
        except OSError as error:
            log.error(
                "locations of clusters not read; clusters not watched yet", clusters=len(clusters), error=str(error)
            )
            return {}

    async def _end(self, clusters: Sequence[str]) -> None:
        """End the watches of these clusters, all at once."""

        async def end(watch: ClusterWatch, task: asyncio.Task[None]) -> None:
            await watch.nodes.set_enabled(enabled=False)
            await cancel_and_wait(task)

        await asyncio.gather(*(end(*self._watches.pop(name)) for name in clusters))

    async def _follow_former_locations(self) -> None:
        while True:
            try:
                present = {name: watch for name, (watch, _) in self._watches.items()}
                await self._former.follow(present, self._context.clock())
            except SQLAlchemyError as error:
                log.error("database unavailable; former locations not followed", error=str(error))
            except Exception:
                log.exception("former locations not followed")
            await asyncio.sleep(self._pause_s)

    async def _record_troubles(self) -> None:
        """Write what cannot be done in a cluster to its row, when it has changed."""
        former = self._former.troubles()
        troubles = {}
        for name, (watch, _) in self._watches.items():
            trouble = "; ".join(filter(None, (watch.trouble, former.get(name))))[:TROUBLE_LENGTH]
            if trouble != watch.recorded:
                troubles[name] = trouble
        written = await asyncio.to_thread(_write_troubles, self._context.store, troubles) if troubles else ()
        for name in written:
            self._watches[name][0].recorded = troubles[name]

    async def _check_deadlines(self) -> None:
        while True:
            await asyncio.sleep(DEADLINES_EVERY_S)
            now = self._context.clock()
            for watch in (*(watch for watch, _ in self._watches.values()), *self._former):
                try:
                    watch.check_deadlines(now)
                except Exception:
                    log.exception("deadlines not checked", cluster=watch.cluster.name)

    async def _sweep_due_clusters(self) -> None:
        while True:
            await asyncio.sleep(SWEEPS_EVERY_S)
            now = self._context.clock()
            self._sweeper.keep(self._watches.keys())
            for watch, _ in self._watches.values():
                try:
                    self._sweeper.start_if_due(watch, now)
                except Exception:
                    log.exception("sweep not started", cluster=watch.cluster.name)

    async def _shut_down(self) -> None:
        await self._sweeper.close()
        await self._former.close()
        await self._end(list(self._watches))
        await self._context.clients.close()
        await asyncio.to_thread(self._leases.release)


def _write_troubles(store: Store, troubles: dict[str, str]) -> Sequence[str]:
    """Write them to the clusters whose rows nobody else has locked; returns these. The others follow later."""
    with store.writing() as session:
        written = lock_clusters(session, troubles, skip_locked=True)
        rows = [{"name": name, "watch_trouble": without_nul(troubles[name])} for name in written]
        for part in (rows[i : i + WRITTEN_AT_ONCE] for i in range(0, len(rows), WRITTEN_AT_ONCE)):
            given = update_each(Cluster, part)
            session.execute(
                update(Cluster).where(col(Cluster.name) == given.c.name).values(watch_trouble=given.c.watch_trouble),
                execution_options={"synchronize_session": False},
            )
    return written
