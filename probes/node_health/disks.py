"""Free space and inodes of a node's file systems."""

import os
from collections.abc import Iterable
from pathlib import Path

from probes.node_health.finding import Findings

_IMAGES = ("squashfs", "erofs", "iso9660")
"""Read-only image file systems, which are always full."""


def check(root: Path, paths: Iterable[str], disk_percent: float, inodes_percent: float) -> Findings:
    """Each file system once, by the first of the paths on it; missing paths and images are left out."""
    findings = Findings()
    images = _images(root)
    devices: set[int] = set()
    for path in paths:
        local_path = root / path.lstrip("/")
        try:
            device = local_path.stat().st_dev
            if device in devices or device in images:
                continue
            devices.add(device)
            found = os.statvfs(local_path)
        except FileNotFoundError:
            continue
        except OSError as error:
            findings.problems.append(f"{path} cannot be read: {error.strerror}")
            continue
        # As `df`: space reserved for root is not free.
        used = found.f_blocks - found.f_bfree
        megabytes = found.f_frsize / 1e6
        total = (used + found.f_bavail) * megabytes
        findings.use(f"disk space at {path} in MB", "disk", used * megabytes, total, disk_percent)
        findings.use(f"inodes at {path}", "inodes", found.f_files - found.f_ffree, found.f_files, inodes_percent)
    findings.measured["file_systems"] = len(devices)
    return findings


def _images(root: Path) -> set[int]:
    """The devices of the node's mounts that are images; none if the node's mounts cannot be read."""
    try:
        mounts = (root / "proc/1/mountinfo").read_text("utf-8", "replace")
    except OSError:
        return set()
    return {device for mount in mounts.splitlines() if _is_image(mount) and (device := _device(mount)) is not None}


def _device(mount: str) -> int | None:
    """Of a line of mountinfo (proc_pid_mountinfo(5)): "36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw"."""
    try:
        major, minor = mount.split()[2].split(":")
        return os.makedev(int(major), int(minor))
    except (ValueError, IndexError):  # unlike any kernel's: the other mounts count
        return None


def _is_image(mount: str) -> bool:
    kind, _source, options = [*mount.rpartition(" - ")[2].split(" ", 2), "", "", ""][:3]
    # An overlay without a writable layer consists of images: composefs, system extensions.
    return kind in _IMAGES or (kind == "overlay" and ",upperdir=" not in options)
