"""What each member of an etcd cluster says of itself, and what is wrong with it. Next stage: `probe` reports it."""

import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
MEGABYTE = 1024 * 1024
_ALARM = re.compile(r"memberID:(\d+) +alarm:(\w+)")  # an AlarmMember, as protobuf prints it
_ALARMS = {
    "NOSPACE": "its quota is used up: etcd takes no writes until space is made and the alarm disarmed",
    "CORRUPT": "its data differs from the other members'",
}
_NO_LEADER = "etcdserver: no leader"


@dataclass(frozen=True)
class Member:
    """One member; what it has not told is at its default."""

    name: str
    url: str
    """Where it was asked, or should have been."""
    trouble: str = ""
    """Why it did not tell its status; empty if it did."""
    leader: int = 0
    """The id of the member that it takes for the leader; 0: it knows none."""
    learner: bool = False
    db_size: int = 0
    """Bytes of its file."""
    db_in_use: int = 0
    """Bytes that a defragmentation would leave."""
    quota: int = 0
    """Bytes; 0 if not known."""
    said: tuple[str, ...] = field(default=())
    """Errors that it reports of itself."""

    @property
    def place(self) -> str:
        """How it is called in messages."""
        return f"member {self.name} ({self.url})" if self.name else f"member at {self.url}"

    @property
    def use(self) -> float:
        """Percentage of the quota that its file has reached; 0 if the quota is not known."""
        return 100 * self.db_size / self.quota if self.quota else 0.0


def read_status(name: str, url: str, status: Json, quota: float | None) -> Member:
    """A member from its answer to `maintenance/status`; `quota` is for those before 3.6, which do not tell it there."""
    return Member(
        name,
        url,
        leader=int(status.get("leader", 0)),
        learner=bool(status.get("isLearner")),
        db_size=int(status.get("dbSize", 0)),
        db_in_use=int(status.get("dbSizeInUse", 0)),
        quota=int(status.get("dbSizeQuota", 0) or quota or 0),
        said=tuple(status.get("errors") or ()),
    )


def problems(members: list[Member], names: dict[int, str], warn_percent: float) -> list[str]:
    """What is wrong with members, the most urgent first: away, alarms, without leader, at odds, nearly full."""
    away = [f"{member.place}: {member.trouble}" for member in members if member.trouble]
    well = [member for member in members if not member.trouble]
    leaderless = [f"{member.place}: knows no leader" for member in well if not member.leader]
    ill = [f"{member.place}: {error}" for member in well for error in member.said if _is_new(error)]
    at_odds = _at_odds(well, names)
    return [*away, *alarms(well, names), *leaderless, *at_odds, *ill, *_full(well, warn_percent)]


def alarms(members: list[Member], names: dict[int, str]) -> list[str]:
    """The alarms that are raised, by member. Every member tells them all, with or without a quorum."""
    raised = {
        (int(found[1]), found[2]) for member in members for error in member.said if (found := _ALARM.search(error))
    }
    return [
        f"alarm {kind} of member {names.get(member, f'{member:x}')}: {_ALARMS.get(kind, 'unknown to this probe')}"
        for member, kind in sorted(raised)
    ]


def behind(members: list[tuple[Member, int]], written: int, tolerance: int, seconds: float) -> list[str]:
    """Members that have not seen a write: each with the revision it is at. `seconds` is how long was waited."""
    return [
        f"{member.place}: is at revision {reached}, {written - reached} behind what was written {seconds:g} s ago"
        for member, reached in members
        if written - reached > tolerance
    ]


def _is_new(error: str) -> bool:
    """Whether an error of a status says something that is not told otherwise."""
    return error != _NO_LEADER and not _ALARM.search(error)


def _at_odds(members: list[Member], names: dict[int, str]) -> list[str]:
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
                f"{member.place}: database is {size:.1f} MB, {member.use:.0f} % of its quota of {quota:.1f} MB "
                f"({in_use:.1f} MB in use{hint})"
            )
    return found
