"""What the name of a file in a backup folder says: whether it is a backup, and when it was made. Pure."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePath

_INCOMPLETE = {".part", ".partial", ".tmp", ".temp"}
_BESIDE = {
    *(".sha256", ".sha256sum", ".sha512", ".sha512sum", ".sha1", ".md5", ".md5sum", ".sum", ".crc"),
    *(".sig", ".asc", ".minisig", ".json", ".yaml", ".yml", ".txt", ".md", ".log", ".metadata", ".lock", ".sh"),
}
"""Suffixes of checksums, signatures and descriptions that tools write beside a backup."""
_SUMS = re.compile(r"(SHA\d+|MD5)SUMS?|README|Incr-.*", re.IGNORECASE)
"""Sums of all files, and the increments that etcd-backup-restore (Gardener) writes between its snapshots."""

_TIME = re.compile(
    r"(?<!\d)(?P<date>20\d\d-?\d\d-?\d\d)(?P<middle>[T_. -]?)(?P<hour>\d\d)(?P<separator>[-:h]?)(?P<minute>\d\d)"
    r"(?:(?:(?P=separator)|m)(?P<second>\d\d))?(?:[.,]\d{1,9})?"
    r"(?:[ _.]?(?P<name>[A-Z]{1,4})(?![A-Za-z0-9])|[ _]?(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?(?!\d))?"
)
_UNIX_TIME = re.compile(r"(?<!\d)(?:1[5-9]|2\d)\d{8}(?!\d)")  # of K3s, RKE2 and Gardener: 2017 and later
_ZONES: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("Z", "UTC", "UT", "GMT", "WET"), (0,)),
    **dict.fromkeys(("CET", "WEST"), (1,)),
    **dict.fromkeys(("CEST", "EET"), (2,)),
    **dict.fromkeys(("EEST", "MSK"), (3,)),
    **dict.fromkeys(("JST", "KST"), (9,)),
    "AEST": (10,),
    "AEDT": (11,),
    "NZST": (12,),
    "NZDT": (13,),
    "EDT": (-4,),
    "EST": (-5,),
    "CDT": (-5, -4),  # North America, Cuba
    "CST": (-6, 8, -5),  # North America, China, Cuba
    "MDT": (-6,),
    "MST": (-7,),
    "PDT": (-7,),
    "PST": (-8, 8),  # North America, Philippines
    "BST": (1, 6),  # Britain, Bangladesh
    "IST": (5.5, 2, 1),  # India, Israel, Ireland
}
"""Hours ahead of UTC: RFC 5322, section 4.3, and the tz database. Some abbreviations have several meanings."""
_QUARTERS = (0, 15, 30, 45)


def is_backup(name: str) -> bool:
    """Whether a file of this name may be a backup; hidden and incomplete files, sums and descriptions are not."""
    suffix = PurePath(name).suffix.lower()
    return not (name.startswith(".") or suffix in _INCOMPLETE or suffix in _BESIDE or _SUMS.fullmatch(name))


def time_in(path: str, changed: datetime) -> datetime | None:
    """The time in a file's name, or else in the name of a folder above it; None if there is none.

    `etcd-2026-11-25T17-00-00+0100.db`, `20261125-170000`, `etcd-snapshot-server-1-1764086400.zip`; UTC without a zone.
    Of several meanings of a zone, the one nearest to when the file was changed.
    """
    for part in reversed(PurePath(path).parts):
        found = _TIME.search(part)
        made = _parsed(found, changed) if found else None
        if made is None and (unix := _UNIX_TIME.search(part)):
            made = datetime.fromtimestamp(int(unix[0]), UTC)
        if made is not None:
            return made
    return None


def _parsed(found: re.Match[str], changed: datetime) -> datetime | None:
    date = found["date"].replace("-", "")
    try:
        local = datetime(  # noqa: DTZ001 - its zone follows
            int(date[:4]),
            int(date[4:6]),
            int(date[6:]),
            int(found["hour"]),
            int(found["minute"]),
            int(found["second"] or 0),
        )
        meanings = [local.replace(tzinfo=timezone(offset)).astimezone(UTC) for offset in _offsets(found)]
        return min(meanings, key=lambda made: abs(changed - made))
    except ValueError:
        return None


def _offsets(found: re.Match[str]) -> list[timedelta]:
    """How far a name's zone may be ahead of UTC; 0 for an unknown zone, and for a number that is no offset."""
    if found["name"]:
        return [timedelta(hours=hours) for hours in _ZONES.get(found["name"], (0,))]
    if not found["sign"]:
        return [timedelta()]
    hours, minutes = int(found["hours"]), int(found["minutes"] or 0)
    if found["sign"] == "+":
        return [timedelta(hours=hours, minutes=minutes) if hours <= 14 and minutes in _QUARTERS else timedelta()]
    # A number behind a dash may be one of several backups instead.
    is_offset = found["minutes"] is not None and hours <= 12 and minutes in _QUARTERS
    return [-timedelta(hours=hours, minutes=minutes) if is_offset else timedelta()]
