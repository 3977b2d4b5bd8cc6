"""When clusters are swept for leftovers: by the clock, seldom, and soon after a probe was killed.

What it costs does not grow with the runs: some lists of metadata every few minutes, spread over the fleet.
"""

import asyncio
from datetime import datetime, timedelta
from zlib import crc32

import structlog
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars

from kubeprobe.catalog import CatalogCache
from kubeprobe.execution.collect.context import WatchContext, cancelled
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.leftovers import GRACE, LeftoverRepository, sweep
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.store import Cluster

log = structlog.get_logger(__name__)

AT_A_TIME = 4
"""Clusters that one collector sweeps at the same time."""
SOON = GRACE + timedelta(seconds=15)
"""After a probe was killed: Kubernetes has collected by then what its pod owned."""


class Sweeper:
    """Sweeps the clusters of one collector."""

    def __init__(self, context: WatchContext) -> None:
        self._context = context
        self._book = LeftoverRepository(context.store, CatalogCache())
        self._inventories: dict[str, Inventory] = {}
        self._since: dict[str, datetime] = {}
        """When each cluster was last swept, or else when this collector first heard of it."""
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_A_TIME)

    def consider(self, watch: ClusterWatch, now: datetime) -> None:
        """Begin to sweep a cluster if that is due."""
        cluster = watch.cluster
        if cluster.name in self._under_way or cluster.cordoned_at or (cluster.open_until and cluster.open_until > now):
            return
        known = self._since.setdefault(cluster.name, cluster.swept_at or now)
        since = max(known, cluster.swept_at or known)  # another collector may have been here in between
        if is_due(cluster.name, since, now, self._context.settings.sweep_every) or is_soon(
            watch.probe_killed_at, since, now
        ):
            task = asyncio.create_task(self._sweep(cluster, now), name=f"sweep {cluster.name}")
            self._under_way[cluster.name] = task
            task.add_done_callback(lambda _: self._under_way.pop(cluster.name, None))

    async def close(self) -> None:
        """End what is under way: the next collector sweeps again."""
        for task in list(self._under_way.values()):
            await cancelled(task)

    async def _sweep(self, cluster: Cluster, now: datetime) -> None:
        bind_contextvars(cluster=cluster.name)  # for its task only
        self._since[cluster.name] = now
        try:
            async with self._slots:
                await self._sweep_now(cluster, now)
        except (ClusterError, SQLAlchemyError, OSError) as error:
            log.info("not swept", error=str(error))  # whoever else needs it says so louder
        except Exception:
            log.exception("not swept")

    async def _sweep_now(self, cluster: Cluster, now: datetime) -> None:
        targets = await asyncio.to_thread(self._book.targets, cluster, now)
        api = await self._context.clients.get(cluster)
        inventory = self._inventories.get(cluster.name)
        if inventory is None or inventory.api is not api:
            inventory = self._inventories[cluster.name] = Inventory(api)
        swept = await sweep(
            inventory,
            targets,
            self._context.installation,
            lambda run_ids: asyncio.to_thread(self._book.recall, run_ids),
            now,
        )
        await asyncio.to_thread(self._book.note, cluster, swept, now)


def is_due(cluster: str, since: datetime, now: datetime, every: timedelta) -> bool:
    """Whether a moment of a cluster has passed: each has its own in every interval, so that the fleet's are spread."""
    phase = crc32(cluster.encode()) % 1000 / 1000 * every

    def interval(moment: datetime) -> int:
        return int((moment - phase).timestamp() // every.total_seconds())

    return interval(now) > interval(since)


def is_soon(killed_at: datetime | None, since: datetime, now: datetime) -> bool:
    """Whether the last killed probe's leavings are ripe, and nobody has looked since."""
    return killed_at is not None and killed_at + SOON <= now and since < killed_at + SOON
