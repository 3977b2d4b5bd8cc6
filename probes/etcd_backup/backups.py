"""The backups of one etcd, and their problems."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from probes.etcd_backup.formats import NotASnapshot, SnapshotError, SnapshotUnchecked
from probes.etcd_backup.names import is_backup, time_in
from probes.etcd_backup.snapshot import Snapshot

Read = Callable[[Path], Snapshot]
"""Reads a file; raises SnapshotError."""
BEING_WRITTEN = timedelta(minutes=2)
"""A file changed more recently than this may still be written: if it is incomplete, the one before it counts."""
_READ_LIMIT = 3  # backups that are read: the newest, and others if it is invalid
_COMPARED = 7  # backups for the comparison of sizes; of those, at most _READ_LIMIT are read


@dataclass(frozen=True)
class Backup:
    """A file that should be a snapshot."""

    path: Path
    made: datetime
    """The time in its name, or when it was last changed: the earlier, since copying makes files look new."""
    changed: datetime
    size: int


@dataclass(frozen=True)
class Rules:
    """The requirements of a backup."""

    max_age: timedelta
    shrink_percent: float
    """A backup smaller than this percentage of the last ones' median is suspicious; 0: no comparison.

    It must also have fewer entries: a smaller file alone can result from a defragmentation.
    """


@dataclass(frozen=True)
class Verdict:
    """The findings for one etcd."""

    problems: list[str]
    newest: datetime | None = None
    """The newest valid backup."""
    snapshot: Snapshot | None = None
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why."""


def find(directory: Path, pattern: str, etcds: list[str]) -> dict[str, list[Backup]]:
    """The backups of each etcd, the newest first; raises OSError.

    A file that matches several etcds, as `prod-eu-1.db` does with `{etcd}-*.db`, is of the one with the longest name.
    """
    found: dict[str, list[Backup]] = {}
    taken: set[Path] = set()
    for etcd in sorted(etcds, key=len, reverse=True):
        paths = set(directory.glob(pattern.replace("{etcd}", etcd))) - taken
        taken |= paths
        backups = [backup for path in paths if is_backup(path.name) and (backup := _backup(directory, path))]
        backups = list({backup.path.resolve(): backup for backup in backups}.values())  # `latest` is one of the others
        found[etcd] = sorted(backups, key=lambda backup: (backup.made, backup.path.name), reverse=True)
        _check_readable(directory, pattern.replace("{etcd}", etcd), found[etcd])
    return found


def _backup(directory: Path, path: Path) -> Backup | None:
    """A file that may be a backup; None if it is something else, or was deleted meanwhile."""
    try:
        if not path.is_file():
            return None
        status = path.stat()
    except FileNotFoundError:
        return None
    changed = datetime.fromtimestamp(status.st_mtime, UTC)
    named = time_in(str(path.relative_to(directory)), changed)
    return Backup(path, min(named, changed) if named else changed, changed, status.st_size)


def _check_readable(directory: Path, pattern: str, found: list[Backup]) -> None:
    """Raise PermissionError if there may be backups in a folder that cannot be listed: `Path.glob` leaves it out."""
    folder = directory
    for part in Path(pattern).parts[:-1]:
        if set(part) & set("*?[") or not (folder / part).is_dir():
            break
        folder /= part
    if not found and not os.access(folder, os.R_OK | os.X_OK):
        raise PermissionError(f"{folder}: permission denied")


def judge(etcd: str, backups: list[Backup], rules: Rules, now: datetime, read: Read) -> Verdict:
    """Problems of an etcd's backups: missing, incomplete, empty, shrunk, or too old."""
    problems: list[str] = []
    unread = 0
    for index, backup in enumerate(backups):
        label = f"etcd {etcd}: backup {backup.path.name}"
        try:
            snapshot = read(backup.path)
        except NotASnapshot:
            continue
        except SnapshotUnchecked as error:
            return Verdict([*problems, *_age(etcd, backup, rules, now)], unchecked=(f"{label}: {error}",))
        except SnapshotError as error:
            if index == 0 and now - backup.changed < BEING_WRITTEN and len(backups) > 1:
                continue
            problems.append(f"{label} is invalid: {error}")
            unread += 1
            if unread == _READ_LIMIT:
                break
            continue
        content_problem = _contents(backup, snapshot, backups[index + 1 :][:_COMPARED], rules, read)
        problems += [f"{label} {content_problem}"] if content_problem else []
        problems += _age(etcd, backup, rules, now)
        return Verdict(problems, backup.made, snapshot)
    if not unread:
        return Verdict([f"etcd {etcd}: no backup"])
    return Verdict([*problems, f"etcd {etcd}: none of its last {unread} backups can be restored"])


def _age(etcd: str, backup: Backup, rules: Rules, now: datetime) -> list[str]:
    age = now - backup.made
    if age <= rules.max_age:
        return []
    description = f"{backup.path.name} is {_hours(age)} old, of {backup.made:%Y-%m-%d %H:%M UTC}"
    return [f"etcd {etcd}: the last valid backup {description} (MAX_AGE_HOURS is {_hours(rules.max_age)})"]


def _contents(backup: Backup, snapshot: Snapshot, before: list[Backup], rules: Rules, read: Read) -> str:
    """The problem with a complete backup's content: it is empty, or suspiciously small. Empty if there is none."""
    if not snapshot.entries:
        return "is empty: no key is in it"
    usual = median(other.size for other in before) if before else 0
    if not _less(backup.size, usual, rules.shrink_percent):
        return ""
    # Not only the previous one: that could be of the same wrong etcd.
    larger = [other for other in before if _less(backup.size, other.size, rules.shrink_percent)]
    why = _why_unrelated(snapshot, larger[:_READ_LIMIT], rules, read)
    less = f"{backup.size} bytes, the last {len(before)} had {usual:.0f} (less than {rules.shrink_percent:g} %)"
    return f"has {less}, and {why}: it may be of another etcd" if why else ""


def _why_unrelated(snapshot: Snapshot, larger: list[Backup], rules: Rules, read: Read) -> str:
    """Why a small backup is not of the same etcd as the last valid larger one; empty if it seems to be.

    A defragmentation makes the file smaller, but keeps the revision and all keys.
    """
    for other in larger:
        try:
            known = read(other.path)
        except SnapshotError:
            continue
        if snapshot.revision < known.revision:
            return f"its revision {snapshot.revision} is lower than {known.revision} of {other.path.name}"
        if _less(snapshot.entries, known.entries, rules.shrink_percent):
            return f"it has {snapshot.entries} entries, {other.path.name} had {known.entries}"
        return ""
    return "no larger one can be read to compare it with"


def _less(one: float, other: float, percent: float) -> bool:
    return one * 100 < other * percent


def _hours(age: timedelta) -> str:
    return f"{age / timedelta(hours=1):.1f} h"
