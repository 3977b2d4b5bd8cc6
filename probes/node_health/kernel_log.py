"""Recent problems in the kernel's log: out-of-memory kills, hung tasks, disk errors, full tables."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.node_health.finding import Findings
from probes.node_health.kernel_patterns import PATTERNS, Pattern

_RECORD = 8192  # bytes: the maximum length of a record (https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg)


@dataclass(frozen=True)
class Message:
    """One record of the kernel's log."""

    at: float
    """Seconds since boot."""
    text: str


def check(device: Path, within: float, own_patterns: Sequence[Pattern]) -> Findings:
    """The messages of the last `within` seconds that match a pattern; for each kind the latest one and the count."""
    findings = Findings()
    log = Log()
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        recent = [message.text for message in log.read(device, now) if message.at >= now - within]
    except OSError as error:
        findings.unchecked.append(f"kernel log {device}: {error.strerror}")
        return findings
    if log.invalid:
        findings.unchecked.append(f"kernel log {device}: {log.invalid} records cannot be parsed: {log.example!r}")
    findings.measured["kernel_messages"] = len(recent)
    for known in (*PATTERNS, *own_patterns):
        found = [text for text in recent if known.matches(text)]
        if found:
            times = f" ({len(found)} times)" if len(found) > 1 else ""
            findings.problems.append(f"kernel log: {known.meaning}{times}: {found[-1]}")
    return findings


class Log:
    """The kernel's log buffer."""

    def __init__(self) -> None:
        self.invalid = 0
        """Records that cannot be parsed; the others are read."""
        self.example = ""

    def read(self, device: Path, until: float) -> Iterator[Message]:
        """The messages, oldest first, to the first one after `until` (seconds since boot). Raises OSError."""
        log = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                try:
                    record = os.read(log, _RECORD)
                except BlockingIOError:  # the end of the log
                    return
                except BrokenPipeError:  # the oldest record was overwritten meanwhile
                    continue
                if not record:
                    return
                message = self._parsed(record.decode("utf-8", "replace"))
                if message:
                    yield message
                    if message.at > until:  # a log that is written faster than it is read has no end
                        return
        finally:
            os.close(log)

    def _parsed(self, record: str) -> Message | None:
        try:
            return parse(record)
        except ValueError:
            self.invalid += 1
            self.example = self.example or record[:80]
            return None


def parse(record: str) -> Message:
    """Parse `6,339,5140900,-;NET: Registered protocol family 10`; following lines with details are left out.

    Raises ValueError.
    """
    head, semicolon, text = record.partition(";")
    fields = head.split(",", 4)
    if not semicolon or len(fields) < 4:
        raise ValueError(f"{record[:80]!r} is not a record of the kernel's log")
    return Message(int(fields[2]) / 1e6, text.partition("\n")[0])
