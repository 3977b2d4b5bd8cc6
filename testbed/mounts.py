"""Removes the mounts of kubelet and containerd below their directories. Used by `cluster`."""

from pathlib import Path

from testbed.commands import run, succeeds


def below(*roots: Path) -> list[Path]:
    """Mount points at or below the directories, innermost first."""
    mounted = [
        # The kernel escapes spaces and backslashes in paths as octal numbers.
        Path(line.split()[4].encode().decode("unicode_escape"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in reversed(mounted) if any(point.is_relative_to(root) for root in roots)]


def unmount(*roots: Path) -> None:
    """Unmount all mount points below the roots; a busy one is detached (umount --lazy)."""
    for point in below(*roots):
        if not succeeds(["umount", str(point)]):
            run(["umount", "--lazy", str(point)])
