"""Recent problems in the kernel's log: out-of-memory kills, hung tasks, disk errors, full tables."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probes.node_health.finding import Findings

_RECORD = 8192  # bytes: the maximum length of a record (https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg)


@dataclass(frozen=True)
class Pattern:
    """The meaning of a message, and its pattern."""

    meaning: str
    pattern: re.Pattern[str]


# The kernel's messages: mm/oom_kill.c, kernel/hung_task.c, kernel/watchdog.c, kernel/rcu, fs/ext4/super.c, fs/xfs,
# block/blk-core.c, net/netfilter/nf_conntrack_core.c, net/core/neighbour.c, net/core/dev.c, net/sched/sch_generic.c.
# A container that exceeds its own limit ("Memory cgroup out of memory") is not a fault of the node.
PATTERNS = (
    Pattern("the node is out of memory", re.compile(r"^Out of memory: Killed process")),
    Pattern("a task hangs", re.compile(r"task \S+ blocked for more than \d+ seconds")),
    Pattern("a processor hangs", re.compile(r"soft lockup|hard LOCKUP|rcu\w* .*detected stalls")),
    Pattern(
        "a file system is broken",
        re.compile(r"EXT4-fs error|XFS \(.*\): .*(Corruption|shut(ting)? ?down)|BTRFS.*error"),
    ),
    Pattern("a file system became read-only", re.compile(r"Remounting filesystem read-only")),
    Pattern("a disk fails", re.compile(r"I/O error, dev|Buffer I/O error|metadata I/O error")),
    Pattern("connection tracking was full", re.compile(r"nf_conntrack: (nf_conntrack: )?table full, dropping packet")),
    Pattern("the neighbour table was full", re.compile(r"neighbou?r table overflow")),
    Pattern(
        "a network namespace cannot be removed", re.compile(r"unregister_netdevice: waiting for \S+ to become free")
    ),
    Pattern("a network card hangs", re.compile(r"NETDEV WATCHDOG")),
    Pattern("hardware reports an error", re.compile(r"\[?Hardware Error\]?:")),
)


@dataclass(frozen=True)
class Message:
    """One record of the kernel's log."""

    at: float
    """Seconds since boot."""
    text: str


def check(device: Path, within: float, own_patterns: Sequence[Pattern]) -> Findings:
    """The messages of the last `within` seconds that match a pattern; for each kind the latest one and the count."""
    findings = Findings()
    try:
        messages = list(read(device))
    except OSError as error:
        findings.unchecked.append(f"kernel log {device}: {error.strerror}")
        return findings
    recent = [message for message in messages if message.at >= time.clock_gettime(time.CLOCK_BOOTTIME) - within]
    findings.measured["kernel_messages"] = len(recent)
    for known in (*PATTERNS, *own_patterns):
        found = [message for message in recent if known.pattern.search(message.text)]
        if found:
            times = f" ({len(found)} times)" if len(found) > 1 else ""
            findings.wrong.append(f"kernel log: {known.meaning}{times}: {found[-1].text}")
    return findings


def read(device: Path) -> Iterator[Message]:
    """The messages in the kernel's log buffer, oldest first. Raises OSError."""
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
            yield parse(record.decode("utf-8", "replace"))
    finally:
        os.close(log)


def parse(record: str) -> Message:
    """Parse `6,339,5140900,-;NET: Registered protocol family 10`; following lines with details are left out."""
    head, _, text = record.partition(";")
    return Message(int(head.split(",")[2]) / 1e6, text.partition("\n")[0])
