"""The processes of one container: started in a session of their own, and killed together.

Every process has `MARK` in its environment, so that those which left the session are found as well.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "LOCALCLUSTER_CONTAINER"
"""The environment variable that identifies a process's container: `<instance>/<pod uid>/<container>/<start>`."""

CONTAINERS_UMASK = 0o022
"""As in containers, whatever that of this process is."""
_READ_SIZE = 65536
_MEMORY_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Program:
    """Command, environment and working directory of a process."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: Path

    @property
    def mark(self) -> str:
        """The variable (NAME=VALUE) that identifies the processes of this container."""
        return f"{MARK}={self.env[MARK]}"


class Process:
    """A started container."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.ReadTransport) -> None:
        self._process = process
        self._output = output
        self.out_of_memory = False
        self.ended = asyncio.Event()

    @classmethod
    async def start(cls, program: Program, on_output: Callable[[bytes], None]) -> "Process":
        """Start a program. Raises `OSError` when it cannot be found or executed."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program.argv,
                env=dict(program.env),
                cwd=program.directory,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                umask=CONTAINERS_UMASK,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        loop = asyncio.get_running_loop()
        file = os.fdopen(reading, "rb", _READ_SIZE)
        output, _ = await loop.connect_read_pipe(lambda: _Output(on_output), file)
        return cls(process, output)

    @property
    def pid(self) -> int:
        """The first process; also the id of its session and process group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the first process, then kill its process group. Returns the exit code: 128 + n for signal n."""
        code = await self._process.wait()
        self.signal(signal.SIGKILL)
        # The last output may still be in the pipe; let the reader run once, then drain it.
        await asyncio.sleep(0)
        self._drain()
        self.ended.set()
        return 128 - code if code < 0 else code

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def limit_memory(self, limit: int) -> None:
        """Kill the container when its resident memory exceeds `limit` bytes.

        Memory is read ten times a second, so a short peak is missed.
        """
        while self._process.returncode is None:
            if sum(_resident_bytes(pid) for pid in _session_members(self.pid)) > limit:
                self.out_of_memory = True
                self.signal(signal.SIGKILL)
                return
            await asyncio.sleep(_MEMORY_POLL_SECONDS)

    def _drain(self) -> None:
        pipe = self._output.get_extra_info("pipe")
        if not self._output.is_closing():
            protocol = self._output.get_protocol()
            with contextlib.suppress(BlockingIOError, ValueError):
                while data := os.read(pipe.fileno(), _READ_SIZE):
                    protocol.data_received(data)  # type: ignore[attr-defined]
        self._output.close()


class _Output(asyncio.Protocol):
    def __init__(self, on_output: Callable[[bytes], None]) -> None:
        self._on_output = on_output

    def data_received(self, data: bytes) -> None:
        self._on_output(data)


def _session_members(session: int) -> Iterator[int]:
    """The processes of a session: the first one and its descendants."""
    waiting = [session]
    while waiting:
        pid = waiting.pop()
        yield pid
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
