"""The context that the watches of a collector share."""

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


async def cancel_and_wait(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    # Not `await task`: that raises the task's error, and hides a cancellation of the caller.
    await asyncio.wait([task])
