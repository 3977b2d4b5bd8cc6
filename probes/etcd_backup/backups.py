"""The backups of one etcd, and their problems."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from probes.etcd_backup.snapshot import Snapshot, SnapshotError

Read = Callable[[Path], Snapshot]
"""Reads a file; raises SnapshotError."""
BEING_WRITTEN = timedelta(minutes=2)
"""A file changed more recently than this may still be written: if it is incomplete, the one before it counts."""
_READ_LIMIT = 3  # backups that are read: the newest, and others if it is invalid
_COMPARED = 7  # backups for the comparison of sizes; of those, at most _LOOKED_AT are read
_TIME = re.compile(r"(20\d\d)-?(\d\d)-?(\d\d)[T_.-]?(\d\d)[-:h]?(\d\d)(?:[-:m]?(\d\d))?")


@dataclass(frozen=True)
class Backup:
    """A file that should be a snapshot."""

    path: Path
    made: datetime
    """The time in its name (UTC), or when it was last changed: the earlier, since copying makes files look new."""
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


def find(directory: Path, pattern: str, etcd: str) -> list[Backup]:
    """The backups of an etcd, the newest first; raises OSError."""
    found = []
    for path in directory.glob(pattern.replace("{etcd}", etcd)):
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".part", ".tmp"):
            status = path.stat()
            changed = datetime.fromtimestamp(status.st_mtime, UTC)
            named = time_in(path.name)
            found.append(Backup(path, min(named, changed) if named else changed, changed, status.st_size))
    return sorted(found, key=lambda backup: (backup.made, backup.path.name), reverse=True)


def time_in(name: str) -> datetime | None:
    """The time in a file's name, such as `etcd-2026-11-25T17-00-00.db`; None if there is none."""
    found = _TIME.search(name)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def judge(etcd: str, backups: list[Backup], rules: Rules, now: datetime, read: Read) -> Verdict:
    """Problems of an etcd's backups: missing, incomplete, empty, shrunk, or too old."""
    if not backups:
        return Verdict([f"etcd {etcd}: no backup at all"])
    wrong = []
    for index, backup in enumerate(backups[:_READ_LIMIT]):
        try:
            snapshot = read(backup.path)
        except SnapshotError as error:
            if index == 0 and now - backup.changed < BEING_WRITTEN and len(backups) > 1:
                continue
            wrong.append(f"etcd {etcd}: backup {backup.path.name} is no good: {error}")
            continue
        content_problem = _contents(backup, snapshot, backups[index + 1 :][:_COMPARED], rules, read)
        wrong += [f"etcd {etcd}: backup {backup.path.name} {content_problem}"] if content_problem else []
        wrong += _age(etcd, backup, rules, now)
        return Verdict(wrong, backup.made, snapshot)
    return Verdict([*wrong, f"etcd {etcd}: none of its last {min(len(backups), _READ_LIMIT)} backups can be restored"])


def _age(etcd: str, backup: Backup, rules: Rules, now: datetime) -> list[str]:
    age = now - backup.made
    if age <= rules.max_age:
        return []
    description = f"{backup.path.name} is {_hours(age)} old, of {backup.made:%Y-%m-%d %H:%M UTC}"
    return [f"etcd {etcd}: the last good backup {description} (MAX_AGE_HOURS is {_hours(rules.max_age)})"]


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
    return f"has {less}, and {why}: is it the right etcd's?" if why else ""


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
