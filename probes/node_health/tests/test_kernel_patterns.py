"""Messages of kernels of several versions, as they were recorded in logs and bug reports."""

import os
from pathlib import Path

import pytest

from probes.node_health import kernel_log
from probes.node_health.kernel_patterns import PATTERNS

MESSAGES = {
    "the node is out of memory": (
        "Out of memory: Kill process 811 (stress) score 900 or sacrifice child",
        "Out of memory: Killed process 811 (stress) total-vm:1kB, anon-rss:1kB, file-rss:0kB, UID:0 pgtables:44kB",
        "Out of memory (oom_kill_allocating_task): Killed process 811 (stress) total-vm:1kB",
        "Out of memory and no killable processes...",
        "Kernel panic - not syncing: System is deadlocked on memory",
    ),
    "a task hangs": (
        "INFO: task jbd2/sda1-8:211 blocked for more than 120 seconds.",
        "INFO: task rs:main Q:Reg:879 blocked for more than 120 seconds.",
        "INFO: task kworker/u8:3:1042 blocked for more than 241 seconds.",
        "INFO: task (sd-pam):77 blocked for more than 120 seconds.",
        "INFO: task dockerd:1:2 3:55 blocked for more than 122 seconds.",
    ),
    "a processor hangs": (
        "watchdog: BUG: soft lockup - CPU#2 stuck for 26s! [kworker/2:1:99]",
        "BUG: soft lockup - CPU#0 stuck for 67s! [java:1207]",
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3",
        "INFO: rcu_sched self-detected stall on CPU { 1}  (t=5250 jiffies g=4 c=3 q=5)",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies s: 5 root: 0x2/.",
        "BUG: workqueue lockup - pool cpus=2 node=0 flags=0x0 nice=0 stuck for 63s!",
    ),
    "the kernel failed": (
        "BUG: unable to handle page fault for address: ffffc90000000000",
        "kernel BUG at mm/slub.c:305!",
        "Oops: 0002 [#1] SMP PTI",
        "Internal error: Oops: 0000000096000004 [#1] SMP",
    ),
    "a file system is broken": (
        "EXT4-fs error (device sda1): ext4_lookup:1855: inode #2: comm ls: bad extra_isize",
        "Aborting journal on device sda1-8.",
        "XFS (dm-1): Metadata corruption detected at xfs_agi_verify+0xde/0x180 [xfs], xfs_agi block 0x2",
        "XFS (dm-1): Corruption of in-memory data (0x8) detected at xfs_defer_finish. Shutting down filesystem.",
        "XFS (sda1): Internal error XFS_WANT_CORRUPTED_GOTO at line 3505 of file fs/xfs/libxfs/xfs_btree.c",
        "XFS (sda1): Filesystem has been shut down due to log error (0x2).",
        "BTRFS error (device sda1): parent transid verify failed on 30736384 wanted 7 found 5",
        "BTRFS critical (device dm-0 state EA): corrupt leaf: root=5 block=1 slot=2",
        "BTRFS: error (device sda1) in btrfs_finish_ordered_io:3331: errno=-5 IO failure",
    ),
    "a file system became read-only": (
        "EXT4-fs (sda1): Remounting filesystem read-only",
        "BTRFS info (device sda1 state E): forced readonly",
        "FAT-fs (sda1): Filesystem has been set read-only",
    ),
    "a disk fails": (
        "end_request: I/O error, dev sda, sector 41157704",
        "blk_update_request: I/O error, dev sdb, sector 2048",
        "print_req_error: I/O error, dev nvme1n1, sector 2048",
        "I/O error, dev sdb, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
        "blk_update_request: critical medium error, dev sda, sector 11520",
        "critical target error, dev sdc, sector 8 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2",
        "critical space allocation error, dev dm-3, sector 8 op 0x1:(WRITE) flags 0x0 phys_seg 1 prio class 2",
        "Buffer I/O error on device sda1, logical block 1234",
        "Buffer I/O error on dev dm-2, logical block 1234, lost async page write",
        'XFS (dm-1): metadata I/O error in "xfs_buf_ioend+0x1" at daddr 0x1 len 8 error 5',
        "nvme nvme0: I/O 23 QID 4 timeout, aborting",
        "nvme nvme0: I/O tag 23 (1017) opcode 0x2 (I/O Cmd) QID 4 timeout, aborting req_op:READ(0) size:4096",
        "nvme nvme0: controller is down; will reset: CSTS=0x3, PCI_STATUS=0x10",
        "md/raid1:md0: Disk failure on sda1, disabling device.",
    ),
    "connection tracking was full": (
        "ip_conntrack: table full, dropping packet.",
        "nf_conntrack: table full, dropping packet",
        "nf_conntrack: nf_conntrack: table full, dropping packet",
        "nf_conntrack: nf_conntrack: table full in netns 4026532281, dropping packet",
    ),
    "the neighbour table was full": (
        "Neighbour table overflow.",
        "neighbour: arp_cache: neighbor table overflow!",
        "neighbour: ndisc_cache: neighbor table overflow!",
    ),
    "a network namespace cannot be removed": ("unregister_netdevice: waiting for lo to become free. Usage count = 2",),
    "a network card hangs": (
        "NETDEV WATCHDOG: eth0 (virtio_net): transmit queue 0 timed out",
        "ena 0000:00:05.0 eth0: NETDEV WATCHDOG: CPU: 2: transmit queue 0 timed out 5001 ms",
    ),
    "hardware reports an error": (
        "mce: [Hardware Error]: Machine check events logged",
        "{1}[Hardware Error]: event severity: fatal",
        "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0",
    ),
}
NO_TROUBLE = (
    "Memory cgroup out of memory: Killed process 99 (app) total-vm:1kB",
    "Memory cgroup out of memory: Kill process 99 (app) score 1 or sacrifice child",
    "IPv6: ADDRCONF(NETDEV_CHANGE): veth1: link becomes ready",
    "blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0",
    "Buffer I/O error on dev fd0, logical block 0, async page read",
    "I/O error, dev sr0, sector 0 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
    "end_request: I/O error, dev sr0, sector 0",
    "Buffer I/O error on device sr0, logical block 0",
    "I/O error, dev loop3, sector 8 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2",
    "Buffer I/O error on dev loop3p1, logical block 8, lost async page write",
    "EXT4-fs error (device loop3): ext4_lookup:1855: inode #2: comm ls: bad extra_isize",
    "XFS (loop3): Metadata corruption detected at xfs_agi_verify+0xde/0x180 [xfs], xfs_agi block 0x2",
    "critical target error, dev sda, sector 8 op 0x3:(DISCARD) flags 0x800 phys_seg 1 prio class 2",
    "operation not supported error, dev nvme0n1, sector 8 op 0x9:(WRITE_ZEROES) flags 0x800 phys_seg 0 prio class 2",
    "{1}[Hardware Error]: event severity: corrected",
    "{1}[Hardware Error]: It has been corrected by h/w and requires no further action",
    "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: 8c00004000010090 Corrected error",
    "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0",
    "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: errors=remount-ro",
    "EXT4-fs (sda1): re-mounted. Opts: errors=remount-ro",
    "XFS (dm-1): Unmounting Filesystem",
    "XFS (dm-1): Mounting V5 Filesystem 5f0b4cd5",
    "BTRFS info (device sda1): bdev /dev/sda1 errs: wr 0, rd 0, flush 0, corrupt 0, gen 0",
    "traps: app[123] general protection fault ip:7f sp:7f error:0 in libc.so.6",
    "rcu: Hierarchical RCU implementation.",
    "nvme nvme0: 8/0/0 default/read/poll queues",
)


@pytest.mark.parametrize(
    ("meaning", "message"), [(meaning, message) for meaning, messages in MESSAGES.items() for message in messages]
)
def test_a_message_about_trouble_is_recognized_once(meaning: str, message: str) -> None:
    assert [one.meaning for one in PATTERNS if one.matches(message)] == [meaning]


@pytest.mark.parametrize("message", NO_TROUBLE)
def test_a_message_that_does_not_matter_is_ignored(message: str) -> None:
    assert [one.meaning for one in PATTERNS if one.matches(message)] == []


def test_every_meaning_has_a_message() -> None:
    assert {one.meaning for one in PATTERNS} == set(MESSAGES)


def test_a_record_that_cannot_be_parsed_hides_no_other(tmp_path: Path) -> None:
    """A pipe, whose reads return one record each, as those of /dev/kmsg do."""
    device = tmp_path / "kmsg"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(device, os.O_WRONLY)
    os.write(writer, b"nonsense")
    log = kernel_log.Log()
    assert list(log.read(device, 1e9)) == []
    os.write(writer, b"4,1,7000000,-;INFO: task rs:main Q:Reg:879 blocked for more than 120 seconds.")
    assert [one.at for one in log.read(device, 1e9)] == [7.0]
    assert (log.invalid, log.example) == (1, "nonsense")
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("record", ["", ";", "4,1,7;", "4,1,x,-;text", "4,1,7000000,- text"])
def test_an_invalid_record_is_refused(record: str) -> None:
    with pytest.raises(ValueError):
        kernel_log.parse(record)
