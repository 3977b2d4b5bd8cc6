import dataclasses

from probes.etcd_crud.members import Member, alarms, lagging, problems, read_status

NAMES = {1: "etcd-1", 2: "etcd-2", 3: "etcd-3"}
MB = 1024 * 1024
HEALTHY = Member("etcd-1", "https://a:2379", leader=1, db_size=10 * MB, db_in_use=9 * MB, quota=100 * MB)


def member(name: str, **fields: object) -> Member:
    return dataclasses.replace(HEALTHY, name=name, url=f"https://{name}:2379", **fields)  # type: ignore[arg-type]


def test_members_that_agree_and_have_space_are_not_a_problem() -> None:
    assert problems([HEALTHY, member("etcd-2"), member("etcd-3", learner=True)], NAMES, 80) == []


def test_a_status_of_the_gateway_has_numbers_as_text_and_no_zeros() -> None:
    status = {"leader": "18446744073709551615", "dbSize": "4096", "dbSizeInUse": "2048", "dbSizeQuota": "8192"}
    read = read_status("etcd-1", "https://a:2379", status, None)
    assert (read.leader, read.db_size, read.db_in_use, read.quota) == (2**64 - 1, 4096, 2048, 8192)
    assert read_status("etcd-1", "https://a:2379", {}, 8192.0).quota == 8192


def test_unreachable_members_come_before_alarms_and_those_before_full_members() -> None:
    members = [
        member("etcd-1", db_size=90 * MB),
        member("etcd-2", problem="no answer"),
        member("etcd-3", leader=0, errors=("memberID:1 alarm:NOSPACE ", "etcdserver: no leader")),
    ]
    unreachable, alarm, leaderless, full = problems(members, NAMES, 80)
    assert unreachable == "member etcd-2 (https://etcd-2:2379): no answer"
    assert alarm.startswith("alarm NOSPACE of member etcd-1: its quota is used up: ")
    assert leaderless == "member etcd-3 (https://etcd-3:2379): has no leader"
    assert full.startswith("member etcd-1 (https://etcd-1:2379): database is 90.0 MB, 90 % of its quota of 100.0 MB ")
    assert full.endswith("(9.0 MB in use; a defragmentation would help)")


def test_members_that_follow_different_leaders_are_named() -> None:
    members = [member("etcd-1"), member("etcd-2"), member("etcd-3", leader=3)]
    assert problems(members, NAMES, 80) == [
        "members do not agree on the leader: etcd-1, etcd-2 follow etcd-1; etcd-3 follows etcd-3"
    ]


def test_an_alarm_of_every_member_is_reported_once() -> None:
    errors = ("memberID:2 alarm:CORRUPT ",)
    assert alarms([member("etcd-1", errors=errors), member("etcd-2", errors=errors)], NAMES) == [
        "alarm CORRUPT of member etcd-2: its data differs from the other members'"
    ]


def test_an_unknown_error_is_reported_unchanged() -> None:
    assert problems([member("etcd-1", errors=("another error",))], NAMES, 80) == [
        "member etcd-1 (https://etcd-1:2379): another error"
    ]


def test_a_lagging_member_is_named_with_its_lag() -> None:
    reached = [(member("etcd-1"), 100), (member("etcd-2"), 98), (member("etcd-3"), 60)]
    assert lagging(reached, 100, 2, 5) == [
        "member etcd-3 (https://etcd-3:2379): is at revision 60, 40 revisions behind the write of 5 s ago"
    ]
