"""Kills processes that outlived their container by leaving its session (daemons).

In a real container they die with its first process. `kubelet` runs one sweeper; `container` reports starts and ends.
"""

import asyncio
import os
import signal
from contextlib import suppress

from kubeprobe.localcluster.kubelet.reaper import mark_of, marked

_GATHER_SECONDS = 0.2
"""Containers that end within this time share one sweep, because each sweep reads all of /proc."""


class Sweeper:
    """Kills processes whose mark belongs to no running container. `prefix` is the mark of the whole cluster."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._running: set[str] = set()
        self._wanted = asyncio.Event()

    def begin(self, mark: str) -> None:
        """A container with this mark is about to start."""
        self._running.add(mark)

    def end(self, mark: str) -> None:
        """The container has ended: kill its remaining processes in the next sweep."""
        self._running.discard(mark)
        self._wanted.set()

    async def run(self) -> None:
        """Sweep after containers have ended, until cancelled."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wanted.clear()
            found = await asyncio.to_thread(self._find)
            # Compare after the search: a container that started meanwhile has called `begin` before.
            strays = [pid for pid, mark in found if mark not in self._running]
            for pid in strays:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if strays:
                self._wanted.set()  # a dying process may have started another

    def _find(self) -> list[tuple[int, str]]:
        return [(pid, mark_of(pid, self._prefix)) for pid in marked(self._prefix)]
