"""Unmounting what kubelet and containerd have mounted below their directories. Used by `cluster`."""

from pathlib import Path

from testbed.commands import run, succeeds


def below(*roots: Path) -> list[Path]:
    """Mount points at or below the directories, innermost first."""
    mounted = [
        # The kernel writes blanks and backslashes in paths as octal escapes.
        Path(line.split()[4].encode().decode("unicode_escape"))
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    return [point for point in reversed(mounted) if any(point.is_relative_to(root) for root in roots)]


def unmount(*roots: Path) -> None:
    """Unmount them all; what is still busy is detached, and goes when its last user does."""
    for point in below(*roots):
        if not succeeds(["umount", str(point)]):
            run(["umount", "--lazy", str(point)])
