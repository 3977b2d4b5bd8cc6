import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from probes.etcd_backup.backups import Backup, Rules, find, judge
from probes.etcd_backup.formats import NotASnapshot, SnapshotError, SnapshotUnchecked
from probes.etcd_backup.names import is_backup, time_in
from probes.etcd_backup.probe import name_of, standby_required
from probes.etcd_backup.snapshot import Snapshot
from probes.etcd_backup.standby import Standby, parse, uncovered

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RULES = Rules(timedelta(hours=25), 50)


def backup(hours: float, size: int = 1000, changed_minutes: float = 600) -> Backup:
    return Backup(
        Path(f"/b/{hours:g}.db"), NOW - timedelta(hours=hours), NOW - timedelta(minutes=changed_minutes), size
    )


def read(path: Path) -> Snapshot:
    if path.name.startswith("2."):
        raise SnapshotError("it is cut off")
    return Snapshot(1000, hashed=True, revision=7, entries=5)


def problems(*backups: Backup) -> list[str]:
    return judge("main", list(backups), RULES, NOW, read).problems


def test_a_recent_complete_backup_of_the_usual_size_is_not_a_problem() -> None:
    verdict = judge("main", [backup(1), backup(25), backup(49)], RULES, NOW, read)
    assert (verdict.problems, verdict.newest) == ([], NOW - timedelta(hours=1))


def test_no_backup_is_reported() -> None:
    assert problems() == ["etcd main: no backup"]


def test_a_backup_that_is_too_old_is_reported_with_its_age() -> None:
    assert problems(backup(31)) == [
        "etcd main: the last valid backup 31.db is 31.0 h old, of 2026-11-24 05:00 UTC (MAX_AGE_HOURS is 25.0 h)"
    ]


def test_an_invalid_newest_backup_is_a_problem_even_with_another_recent_one() -> None:
    assert problems(backup(2), backup(20)) == ["etcd main: backup 2.db is invalid: it is cut off"]


def test_an_invalid_newest_backup_and_an_old_one_are_two_problems() -> None:
    assert len(problems(backup(2), backup(26))) == 2


def test_no_valid_backup_is_reported() -> None:
    assert problems(backup(2), backup(2.5))[-1] == "etcd main: none of its last 2 backups can be restored"


def test_a_backup_being_written_is_skipped_for_the_previous_one() -> None:
    assert problems(backup(2, changed_minutes=1), backup(20)) == []
    assert len(problems(backup(2, changed_minutes=3), backup(20))) == 1


def shrunk(newest: tuple[int, int], before: dict[str, tuple[int, int] | None]) -> list[str]:
    """The findings for a newest backup of 400 bytes; files have revision and entries, or None if damaged."""
    contents = {"1.db": newest, **before}

    def read_contents(path: Path) -> Snapshot:
        found = contents[path.name]
        if found is None:
            raise SnapshotError("it is cut off")
        return Snapshot(1000, hashed=True, revision=found[0], entries=found[1])

    older = [backup(float(name.removesuffix(".db")), 1000) for name in before]
    return judge("main", [backup(1, 400), *older], RULES, NOW, read_contents).problems


SHRUNK = "etcd main: backup 1.db has 400 bytes, the last 2 had 1000 (less than 50 %), and"
RIGHT = "it may be of another etcd"


def test_a_shrunk_backup_with_a_lower_revision_is_suspicious() -> None:
    expected = f"{SHRUNK} its revision 8 is lower than 9 of 25.db: {RIGHT}"
    assert shrunk((8, 100), {"25.db": (9, 100), "49.db": (5, 100)}) == [expected]


def test_a_shrunk_backup_with_far_fewer_entries_is_suspicious() -> None:
    expected = f"{SHRUNK} it has 49 entries, 25.db had 100: {RIGHT}"
    assert shrunk((10, 49), {"25.db": (9, 100), "49.db": (5, 100)}) == [expected]


def test_a_smaller_backup_after_a_defragmentation_is_not_a_problem() -> None:
    assert shrunk((10, 50), {"25.db": (9, 100), "49.db": (5, 100)}) == []


def test_a_shrunk_backup_is_compared_with_the_last_valid_one() -> None:
    assert shrunk((6, 100), {"25.db": None, "49.db": (5, 100)}) == []
    expected = f"{SHRUNK} its revision 4 is lower than 5 of 49.db: {RIGHT}"
    assert shrunk((4, 100), {"25.db": None, "49.db": (5, 100)}) == [expected]


def test_a_shrunk_backup_without_a_valid_predecessor_is_suspicious() -> None:
    expected = f"{SHRUNK} no larger one can be read to compare it with: {RIGHT}"
    assert shrunk((10, 100), {"25.db": None, "49.db": None}) == [expected]


def test_another_etcds_backup_is_detected_even_after_a_second_one() -> None:
    """The day after: both of the last two are of the wrong etcd."""
    wrong, right = Snapshot(400, hashed=True, revision=8, entries=5), Snapshot(1000, hashed=True, revision=9, entries=5)
    backups = [backup(1, 400), backup(25, 400), backup(49), backup(73), backup(97)]
    [problem] = judge(
        "main", backups, RULES, NOW, lambda path: wrong if path.name in ("1.db", "25.db") else right
    ).problems
    assert "its revision 8 is lower than 9 of 49.db" in problem


def test_earlier_backups_are_read_only_if_the_newest_is_smaller() -> None:
    seen = []

    def read_and_note(path: Path) -> Snapshot:
        seen.append(path.name)
        return read(path)

    assert judge("main", [backup(1, 500), backup(25), backup(49)], RULES, NOW, read_and_note).problems == []
    assert seen == ["1.db"]


def test_a_backup_without_keys_is_empty() -> None:
    verdict = judge("main", [backup(1)], RULES, NOW, lambda _path: Snapshot(1000, hashed=True, revision=1, entries=0))
    assert verdict.problems == ["etcd main: backup 1.db is empty: no key is in it"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("etcd-2026-11-25T17-00-05.db", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("snapshot_20261125-170005.db.gz", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("20261125T1700Z", datetime(2026, 11, 25, 17, tzinfo=UTC)),
        ("etcd-2026-11-25T17-00-05+0100.db", datetime(2026, 11, 25, 16, 0, 5, tzinfo=UTC)),
        ("etcd-2026-11-25T17:00:05.123456+05:30.db", datetime(2026, 11, 25, 11, 30, 5, tzinfo=UTC)),
        ("20261125T170005-0800.db.gz", datetime(2026, 11, 26, 1, 0, 5, tzinfo=UTC)),
        ("20261125T1700+0100", datetime(2026, 11, 25, 16, tzinfo=UTC)),
        ("etcd_2026-11-25_17-00-05_CEST.db", datetime(2026, 11, 25, 15, 0, 5, tzinfo=UTC)),
        ("etcd-2026-11-25 17:00:05 EST.db", datetime(2026, 11, 25, 22, 0, 5, tzinfo=UTC)),
        ("etcd-20261125-170005-0001.db", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("etcd-20261125-170005-01.db", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("etcd-2026-11-25T17-00-05-main.db", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("etcd-snapshot-k3s-server-1-1764086405.zip", datetime(2025, 11, 25, 16, 0, 5, tzinfo=UTC)),
        ("Full-00000000-00105608-1764086405.gz", datetime(2025, 11, 25, 16, 0, 5, tzinfo=UTC)),
        ("etcd_backup-2026-11-25_17:00:05/snapshot.db", datetime(2026, 11, 25, 17, 0, 5, tzinfo=UTC)),
        ("etcd-20261399-170005.db", None),
        ("snapshot.db", None),
    ],
)
def test_the_time_of_a_backup_is_read_from_its_name(name: str, expected: datetime | None) -> None:
    assert time_in(name, NOW) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (datetime(2026, 11, 25, 9, 1, tzinfo=UTC), datetime(2026, 11, 25, 9, tzinfo=UTC)),  # China
        (datetime(2026, 11, 25, 23, 1, tzinfo=UTC), datetime(2026, 11, 25, 23, tzinfo=UTC)),  # North America
    ],
)
def test_of_a_zone_with_several_meanings_the_one_near_the_last_change_counts(
    changed: datetime, expected: datetime
) -> None:
    assert time_in("etcd-2026-11-25_17-00-00_CST.db", changed) == expected


def test_files_are_found_by_pattern_and_a_copy_keeps_its_age(tmp_path: Path) -> None:
    for name in ("a/etcd-2026-11-20T00-00-00.db", "a/newest.db", "a/half.part", "a/.hidden", "b/other.db"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        os.utime(file, (NOW.timestamp(),) * 2)
    found = find(tmp_path, "{etcd}/*", ["a"])["a"]
    assert [(one.path.name, one.made) for one in found] == [
        ("newest.db", NOW),
        ("etcd-2026-11-20T00-00-00.db", datetime(2026, 11, 20, tzinfo=UTC)),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "a.db.sha256",
        "a.md5",
        "SHA256SUMS",
        "a.json",
        ".metadata",
        "a.db.part",
        "README",
        "Incr-1-2-1764086405.gz",
        "a.log",
    ],
)
def test_neighbours_of_a_backup_are_not_taken_for_one(name: str) -> None:
    assert not is_backup(name)


@pytest.mark.parametrize("name", ["snapshot", "etcd-snapshot-server-1-1764086405", "a.db", "a.tar.gz", "a.age"])
def test_a_file_of_any_other_name_may_be_a_backup(name: str) -> None:
    assert is_backup(name)


def test_a_file_belongs_to_the_etcd_with_the_longest_name(tmp_path: Path) -> None:
    for name in ("prod-1.db", "prod-eu-1.db", "prod-eu-2.db"):
        (tmp_path / name).write_bytes(b"x")
    found = find(tmp_path, "{etcd}-*.db", ["prod", "prod-eu", "test"])
    names = {etcd: sorted(one.path.name for one in backups) for etcd, backups in found.items()}
    assert names == {"prod": ["prod-1.db"], "prod-eu": ["prod-eu-1.db", "prod-eu-2.db"], "test": []}


def test_a_link_to_the_newest_backup_is_not_another_one(tmp_path: Path) -> None:
    (tmp_path / "1.db").write_bytes(b"x")
    (tmp_path / "latest").symlink_to("1.db")
    (tmp_path / "broken").symlink_to("2.db")
    assert len(find(tmp_path.parent, "{etcd}/*", [tmp_path.name])[tmp_path.name]) == 1


def test_an_archive_of_other_things_is_not_a_backup() -> None:
    """OpenShift's `static_kuberesources_*.tar.gz` beside its snapshots."""

    def read_or_refuse(path: Path) -> Snapshot:
        if path.name == "1.db":
            raise NotASnapshot("its archive has no database of etcd: a.yaml")
        return read(path)

    assert judge("main", [backup(1), backup(20)], RULES, NOW, read_or_refuse).problems == []
    assert judge("main", [backup(1)], RULES, NOW, read_or_refuse).problems == ["etcd main: no backup"]


def test_a_backup_that_cannot_be_checked_is_neither_valid_nor_invalid_but_has_an_age() -> None:
    def refuse(_path: Path) -> Snapshot:
        raise SnapshotUnchecked("its format is age-encrypted")

    verdict = judge("main", [backup(1)], RULES, NOW, refuse)
    assert (verdict.problems, verdict.unchecked) == ([], ("etcd main: backup 1.db: its format is age-encrypted",))
    assert "31.0 h old" in judge("main", [backup(31)], RULES, NOW, refuse).problems[0]


def test_an_etcd_is_named_by_its_pods_label_or_else_by_its_namespace() -> None:
    assert name_of({"metadata": {"namespace": "tenant-a", "labels": {"kubeprobe.io/etcd": "a"}}}) == "a"
    assert name_of({"metadata": {"namespace": "tenant-a"}}) == "tenant-a"


def test_a_standby_is_a_learner_or_a_mirror() -> None:
    assert parse("main=https://a:2379") == Standby("main", "https://a:2379")
    assert parse("main=https://a:2379>https://b:2379") == Standby("main", "https://a:2379", "https://b:2379")


def test_an_etcd_without_a_known_standby_is_named() -> None:
    standbys = [parse("main=https://a:2379"), parse("tenant-a=https://b:2379>https://c:2379")]
    assert uncovered(["main", "tenant-a"], standbys) == []
    assert uncovered(["main", "tenant-b"], standbys) == [
        "etcd tenant-b: no standby is known: STANDBYS does not name it"
    ]


@pytest.mark.parametrize(("value", "required"), [("", False), ("false", False), ("True", True)])
def test_a_standby_is_required_only_by_parameter(
    monkeypatch: pytest.MonkeyPatch, value: str, *, required: bool
) -> None:
    monkeypatch.setenv("REQUIRE_STANDBY", value)
    assert standby_required() is required


@pytest.mark.parametrize("word", ["main", "main=", "=https://a", "main=a:2379", "main=https://a>"])
def test_an_invalid_standby_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="expected NAME=URL"):
        parse(word)
