"""What the watches of a collector have in common."""

import asyncio
from dataclasses import dataclass

from kubeprobe.clock import Clock
from kubeprobe.execution.collect.committer import Committer
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.settings import Settings
from kubeprobe.store import Store


@dataclass(frozen=True)
class WatchContext:
    """What a watch shares with those of other clusters."""

    store: Store
    clients: ClusterClients
    committer: Committer
    settings: Settings
    installation: str
    clock: Clock


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    # Not `await task`: how it ended is nothing to whoever cancels it, and being cancelled oneself must not be lost.
    await asyncio.wait([task])
