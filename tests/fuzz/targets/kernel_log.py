"""A record of the kernel's log: processes choose parts of its text."""

from contextlib import suppress

from probes.node_health.kernel_log import parse
from probes.node_health.kernel_patterns import PATTERNS

SEEDS = (
    b"4,1044,7301234567,-;table full; dropping\n SUBSYSTEM=net\n",
    b"3,1,7,-,caller=T1;INFO: task rs:main Q:Reg:879 blocked for more than 120 seconds.",
    b"3,1,7,-;XFS (dm-1): Metadata corruption detected at xfs_agi_verify+0xde/0x180 [xfs]",
    b"3,1,7,-;rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks:",
    b"3,1,7,-;I/O error, dev sdb, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
)


def fuzz(data: bytes) -> None:
    """Every text is matched, whether it is a valid record or not."""
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        text = parse(text).text
    for pattern in PATTERNS:
        pattern.matches(text)
