"""Room and inodes of the file systems that a node lives on. Next stage: `probe` reports what is wrong."""

import os
from collections.abc import Iterable
from pathlib import Path

from probes.node_health.finding import Findings


def look(root: Path, paths: Iterable[str], disk_percent: float, inodes_percent: float) -> Findings:
    """Each file system once, under the first of the paths that lie on it; paths that are not there are left out."""
    findings = Findings()
    seen: set[int] = set()
    for path in paths:
        here = root / path.lstrip("/")
        try:
            device = here.stat().st_dev
            if device in seen:
                continue
            seen.add(device)
            found = os.statvfs(here)
        except FileNotFoundError:
            continue
        except OSError as error:
            findings.wrong.append(f"{path} cannot be read: {error.strerror}")
            continue
        # As `df` counts: what only root may use is not free.
        used = found.f_blocks - found.f_bfree
        megabytes = found.f_frsize / 1e6
        room = (used + found.f_bavail) * megabytes
        findings.use(f"disk space at {path} in MB", "disk", used * megabytes, room, disk_percent)
        findings.use(f"inodes at {path}", "inodes", found.f_files - found.f_ffree, found.f_files, inodes_percent)
    findings.measured["file_systems"] = len(seen)
    return findings
