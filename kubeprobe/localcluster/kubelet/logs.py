"""A container's output: lines with their times, in memory, bounded."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from kubeprobe.localcluster.cluster import LogOptions

_KEPT_BYTES = 4 * 1024 * 1024
"""Older lines are dropped, as a node rotates logs."""
_MESSAGE_LINES, _MESSAGE_BYTES = 80, 2048
"""The kubelet's limits of a termination message from the log (FallbackToLogsOnError)."""


class Line(NamedTuple):
    """One line, with its newline, and when it was written."""

    at: datetime
    text: bytes


class ContainerLog:
    """One container's output; readers may follow it while it grows."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._dropped = 0
        self._size = 0
        self._partial = b""
        self._grown = asyncio.Event()
        self.ended = False

    def write(self, data: bytes, at: datetime) -> None:
        """Append output, whole lines or not."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._append(Line(at, line + b"\n"))
        self._notify_readers()

    def end(self, at: datetime) -> None:
        """Mark the log as complete."""
        if self._partial:
            self._append(Line(at, self._partial))
            self._partial = b""
        self.ended = True
        self._notify_readers()

    def tail(self) -> str:
        """The end of the log, as a termination message."""
        lines = [line.text for line in list(self._lines)[-_MESSAGE_LINES:]]
        return b"".join(lines)[-_MESSAGE_BYTES:].decode(errors="replace")

    async def read(self, options: LogOptions) -> AsyncIterator[bytes]:
        """The requested part of the log; with `follow`, also what is written until it ends."""
        left = options.limit_bytes
        position = self._dropped + self._start(options)
        while True:
            ended, grown = self.ended, self._grown
            position = max(position, self._dropped)
            chunk = b"".join(
                _shown(line, options)
                for line in list(self._lines)[position - self._dropped :]
                if options.since is None or line.at >= options.since
            )
            position = self._dropped + len(self._lines)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if ended or not options.follow or left == 0:
                return
            await grown.wait()

    def _start(self, options: LogOptions) -> int:
        if options.tail_lines is None:
            return 0
        return max(0, len(self._lines) - options.tail_lines)

    def _append(self, line: Line) -> None:
        self._lines.append(line)
        self._size += len(line.text)
        while self._size > _KEPT_BYTES and len(self._lines) > 1:
            self._size -= len(self._lines.popleft().text)
            self._dropped += 1

    def _notify_readers(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


def _shown(line: Line, options: LogOptions) -> bytes:
    if not options.timestamps:
        return line.text
    return b"%s %s" % (line.at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode(), line.text)
