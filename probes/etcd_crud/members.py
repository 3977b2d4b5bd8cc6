"""The status of each member of an etcd cluster, and its problems."""

import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
MEGABYTE = 1024 * 1024
_ALARM = re.compile(r"memberID:(\d+) +alarm:(\w+)")  # an AlarmMember, as protobuf prints it
_ALARMS = {
    "NOSPACE": "its quota is used up: etcd refuses writes until it is compacted, defragmented and the alarm disarmed",
    "CORRUPT": "its data differs from the other members'",
}
_NO_LEADER = "etcdserver: no leader"


@dataclass(frozen=True)
class Member:
    """One member; unknown fields have their defaults."""

    name: str
    url: str
    """The URL for its status."""
    problem: str = ""
    """Why its status is unknown; empty if it is known."""
    leader: int = 0
    """The id of its leader; 0 without one."""
    learner: bool = False
    db_size: int = 0
    """Bytes of its file."""
    db_in_use: int = 0
    """The size after a defragmentation, in bytes."""
    quota: int = 0
    """Bytes; 0 if not known."""
    errors: tuple[str, ...] = field(default=())
    """The errors in its status."""

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"member {self.name} ({self.url})" if self.name else f"member at {self.url}"

    @property
    def use(self) -> float:
        """The file's size in percent of the quota; 0 if the quota is unknown."""
        return 100 * self.db_size / self.quota if self.quota else 0.0


def read_status(name: str, url: str, status: Json, quota: float | None) -> Member:
    """A member from its answer to `maintenance/status`; `quota` is for those before 3.6, whose answer lacks it."""
    return Member(
        name,
        url,
        leader=int(status.get("leader", 0)),
        learner=bool(status.get("isLearner")),
        db_size=int(status.get("dbSize", 0)),
        db_in_use=int(status.get("dbSizeInUse", 0)),
        quota=int(status.get("dbSizeQuota", 0) or quota or 0),
        errors=tuple(status.get("errors") or ()),
    )


def problems(members: list[Member], names: dict[int, str], warn_percent: float) -> list[str]:
    """Problems of members, the most urgent first: unreachable, alarms, no leader, different leaders, nearly full."""
    unreachable = [f"{member.label}: {member.problem}" for member in members if member.problem]
    reachable = [member for member in members if not member.problem]
    leaderless = [f"{member.label}: has no leader" for member in reachable if not member.leader]
    other_errors = [f"{member.label}: {error}" for member in reachable for error in member.errors if _is_other(error)]
    disagreements = _disagreements(reachable, names)
    return [
        *unreachable,
        *alarms(reachable, names),
        *leaderless,
        *disagreements,
        *other_errors,
        *_full(reachable, warn_percent),
    ]


def alarms(members: list[Member], names: dict[int, str]) -> list[str]:
    """The raised alarms, by member. Every member knows all of them, with or without a quorum."""
    raised = {
        (int(found[1]), found[2]) for member in members for error in member.errors if (found := _ALARM.search(error))
    }
    return [
        f"alarm {kind} of member {names.get(member, f'{member:x}')}: {_ALARMS.get(kind, 'unknown to this probe')}"
        for member, kind in sorted(raised)
    ]


def lagging(members: list[tuple[Member, int]], written: int, tolerance: int, seconds: float) -> list[str]:
    """Members that have not received a write, with the revision of each, after `seconds`."""
    return [
        f"{member.label}: is at revision {reached}, {written - reached} revisions behind the write of {seconds:g} s ago"
        for member, reached in members
        if written - reached > tolerance
    ]


def _is_other(error: str) -> bool:
    """Whether an error of a status is not reported otherwise."""
    return error != _NO_LEADER and not _ALARM.search(error)


def _disagreements(members: list[Member], names: dict[int, str]) -> list[str]:
    leaders: dict[int, list[str]] = {}
    for member in members:
        if member.leader:
            leaders.setdefault(member.leader, []).append(member.name)
    if len(leaders) < 2:
        return []
    views = "; ".join(
        f"{', '.join(followers)} follow{'s' if len(followers) == 1 else ''} {names.get(leader, f'{leader:x}')}"
        for leader, followers in sorted(leaders.items())
    )
    return [f"members do not agree on the leader: {views}"]


def _full(members: list[Member], warn_percent: float) -> list[str]:
    found = []
    for member in sorted(members, key=lambda member: -member.use):
        if member.use >= warn_percent:
            size, quota, in_use = (value / MEGABYTE for value in (member.db_size, member.quota, member.db_in_use))
            hint = "; a defragmentation would help" if in_use < size / 2 else ""
            found.append(
                f"{member.label}: database is {size:.1f} MB, {member.use:.0f} % of its quota of {quota:.1f} MB "
                f"({in_use:.1f} MB in use{hint})"
            )
    return found
