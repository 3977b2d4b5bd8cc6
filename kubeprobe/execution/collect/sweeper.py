"""Schedules the sweeps of clusters for leftovers: periodically, and soon after a probe was killed.

The cost does not depend on the number of runs: some lists of metadata every few minutes, spread over the fleet.
"""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from zlib import crc32

import structlog
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars

from kubeprobe.catalog import CatalogCache
from kubeprobe.execution.collect.context import WatchContext, cancel_and_wait
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.leftovers import GRACE, LeftoverRepository, sweep
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.store import Cluster

log = structlog.get_logger(__name__)

AT_A_TIME = 4
"""Clusters that one collector sweeps concurrently."""
SOON = GRACE + timedelta(seconds=15)
"""After a probe was killed: Kubernetes has deleted by then what its pod owned."""


class Sweeper:
    """Sweeps the clusters of one collector."""

    def __init__(self, context: WatchContext) -> None:
        self._context = context
        self._leftovers = LeftoverRepository(context.store, CatalogCache())
        self._inventories: dict[str, Inventory] = {}
        self._last_swept: dict[str, datetime] = {}
        """When each cluster was last swept, else when this collector first watched it."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_A_TIME)

    def start_if_due(self, watch: ClusterWatch, now: datetime) -> None:
        """Start a sweep of a cluster if one is due."""
        cluster = watch.cluster
        if cluster.name in self._running or cluster.cordoned_at or (cluster.open_until and cluster.open_until > now):
            return
        known = self._last_swept.setdefault(cluster.name, cluster.swept_at or now)
        since = max(known, cluster.swept_at or known)  # another collector may have swept it meanwhile
        if is_due(cluster.name, since, now, self._context.settings.sweep_every) or is_due_after_kill(
            watch.probe_killed_at, since, now
        ):
            task = asyncio.create_task(self._sweep(watch, now), name=f"sweep {cluster.name}")
            self._running[cluster.name] = task
            task.add_done_callback(lambda _: self._running.pop(cluster.name, None))

    def keep(self, clusters: Collection[str]) -> None:
        """Forget all clusters but these: the others were removed, or are another collector's."""
        for by_name in (self._inventories, self._last_swept):
            for name in by_name.keys() - set(clusters):
                by_name.pop(name)

    async def close(self) -> None:
        """Cancel running sweeps: the next collector sweeps again."""
        for task in list(self._running.values()):
            await cancel_and_wait(task)

    async def _sweep(self, watch: ClusterWatch, now: datetime) -> None:
        cluster = watch.cluster
        bind_contextvars(cluster=cluster.name)  # for its task only
        self._last_swept[cluster.name] = now
        try:
            async with self._slots:
                await self._sweep_now(watch, cluster, now)
        except (ClusterError, SQLAlchemyError, OSError) as error:
            log.info("sweep failed", error=str(error))
        except Exception:
            log.exception("sweep failed")

    async def _sweep_now(self, watch: ClusterWatch, cluster: Cluster, now: datetime) -> None:
        targets = await asyncio.to_thread(self._leftovers.targets, cluster, now)
        api = await watch.connect()
        inventory = self._inventories.get(cluster.name)
        if inventory is None or inventory.api is not api:
            inventory = self._inventories[cluster.name] = Inventory(api)
        swept = await sweep(
            inventory,
            targets,
            self._context.installation,
            lambda run_ids: asyncio.to_thread(self._leftovers.get_run_states, run_ids),
            now,
        )
        await asyncio.to_thread(self._leftovers.record, cluster, swept, now)


def is_due(cluster: str, since: datetime, now: datetime, every: timedelta) -> bool:
    """Whether the cluster's moment in the interval has passed: a hash of its name spreads the fleet's sweeps."""
    phase = crc32(cluster.encode()) % 1000 / 1000 * every

    def interval(moment: datetime) -> int:
        return int((moment - phase).timestamp() // every.total_seconds())

    return interval(now) > interval(since)


def is_due_after_kill(killed_at: datetime | None, since: datetime, now: datetime) -> bool:
    """Whether `SOON` has passed since the last probe was killed, without a sweep after it."""
    return killed_at is not None and killed_at + SOON <= now and since < killed_at + SOON
