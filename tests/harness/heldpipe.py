"""A named pipe that processes of a test hold open: it shows when they have started and when they have ended."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WITHIN_S = 60.0


@dataclass(frozen=True)
class HeldPipe:
    """The reading end of a named pipe. The kernel closes the other one when the last process that has it has ended.

    Unlike a process id, this needs no file of /proc, and no zombie or later process of the same id misleads it.
    """

    path: Path
    _descriptor: int

    def wait_for_start(self) -> None:
        """Wait until a process has written to it."""
        assert self._read(), "the process to be waited for has ended, or opened no pipe"

    def wait_for_end(self) -> None:
        """Wait until no process has it open; call `wait_for_start` before."""
        while self._read():
            continue

    def _read(self) -> bytes:
        """What was written; empty at the end."""
        ready, _, _ = select.select([self._descriptor], [], [], WITHIN_S)
        assert ready, f"after {WITHIN_S:g} s, processes still hold {self.path}, or none has opened it"
        return os.read(self._descriptor, 1 << 16)


@contextmanager
def held_pipe(folder: Path) -> Iterator[HeldPipe]:
    """A pipe at `path`, to which a shell may redirect: `(echo started; exec sleep 600) > PATH &`."""
    path = folder / "held"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield HeldPipe(path, descriptor)
    finally:
        os.close(descriptor)
