"""The kernel's messages about problems, in the words of its versions, and the media whose errors do not matter. Pure.

README.md has each message with its versions and its source.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """The meaning of a message, and its pattern."""

    meaning: str
    pattern: re.Pattern[str]

    def matches(self, message: str) -> bool:
        """Whether a message has this meaning, and is not about media that do not matter."""
        return bool(self.pattern.search(message)) and not _is_noise(message)


_MEDIA = re.compile(r"\b(?:dev|device|XFS) \(?(?:fd|sr|scd|loop|ram)\d+")
"""Floppy disks, CDs, images, memory: virtual machines have drives without a medium, and containers mount images."""
_DISCARD = re.compile(
    r"error, dev \S+ sector \d+ op \w+:\((?:DISCARD|WRITE_ZEROES|SECURE_ERASE)\)|operation not supported error"
)
"""A disk that does not have an optional operation, which the kernel then does without."""
_CORRECTED = re.compile(r"event severity: (?:corrected|info)|corrected by h/w|Corrected error", re.IGNORECASE)


def _is_noise(message: str) -> bool:
    return any(pattern.search(message) for pattern in (_MEDIA, _DISCARD, _CORRECTED))


PATTERNS = (
    Pattern(
        "the node is out of memory",
        re.compile(
            r"^Out of memory(?: \([^)]*\))?: Kill(?:ed)? process"
            r"|Out of memory and no killable processes|System is deadlocked on memory"
        ),
    ),
    Pattern("a task hangs", re.compile(r"\btask .{1,64}:\d+ blocked (?:in I/O wait )?for more than \d+ seconds")),
    Pattern(
        "a processor hangs",
        re.compile(
            r"soft lockup|hard LOCKUP|rcu.*(?:self-detected stall|detected (?:expedited )?stalls)|BUG: workqueue lockup"
        ),
    ),
    Pattern("the kernel failed", re.compile(r"^BUG: unable to handle|^kernel BUG at|^(?:Internal error: )?Oops: ")),
    Pattern(
        "a file system is broken",
        re.compile(
            r"EXT[234]-fs error|Aborting journal on device"
            r"|XFS \([^)]*\): .*(?i:corruption|internal error|shut(?:ting)? ?down|log I/O error)"
            r"|BTRFS:? (?:error|critical)\b"
        ),
    ),
    Pattern(
        "a file system became read-only",
        re.compile(r"Remounting filesystem read-only|forced readonly|has been set read-only"),
    ),
    Pattern(
        "a disk fails",
        re.compile(
            r"(?:I/O|critical medium|critical target|critical space allocation|protection|timeout) error, dev "
            r"|Buffer I/O error|XFS \([^)]*\): .*metadata I/O error"
            r"|nvme\d+: (?:I/O .*timeout, (?:aborting|reset|disable)|controller is down|Removing after probe failure)"
            r"|^md/\S+: Disk failure on"
        ),
    ),
    Pattern("connection tracking was full", re.compile(r"(?:nf|ip)_conntrack: table full")),
    Pattern("the neighbour table was full", re.compile(r"neighbou?r table overflow", re.IGNORECASE)),
    Pattern(
        "a network namespace cannot be removed", re.compile(r"unregister_netdevice: waiting for \S+ to become free")
    ),
    Pattern("a network card hangs", re.compile(r"NETDEV WATCHDOG")),
    Pattern("hardware reports an error", re.compile(r"\[?Hardware Error\]?:|EDAC .*\b\d+ UE\b")),
)
