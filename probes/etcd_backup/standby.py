"""Warm standbys: a learner of the same cluster, or a mirror that is a cluster of its own."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from probes._etcd import Endpoint, EtcdError, decoded, encoded, revision, wait_for_revision

Json = dict[str, Any]
OpenEndpoint = Callable[[str], Endpoint]
"""Opens a URL."""


@dataclass(frozen=True)
class Standby:
    """An etcd that must have a standby: `mirror` is another cluster's URL, empty for a learner of the same."""

    etcd: str
    primary: str
    mirror: str = ""


@dataclass(frozen=True)
class Rules:
    """How far a standby may be behind."""

    lag: int
    """In revisions, for a learner."""
    seconds: float
    """The time limit for catching up with the state at the start of the check."""
    mirror_key: str
    """A frequently written key for comparing a mirror, which has its own revisions."""


def parse(word: str) -> Standby:
    """`NAME=PRIMARY` or `NAME=PRIMARY>MIRROR`; raises ValueError."""
    etcd, equals, urls = word.partition("=")
    primary, arrow, mirror = urls.partition(">")
    parts = [primary, mirror] if arrow else [primary]
    if not etcd or not equals or not all(part.startswith(("https://", "http://")) for part in parts):
        raise ValueError(
            f"{word!r}: expected NAME=URL, or NAME=URL>URL of the mirror, such as prod=https://10.0.0.1:2379"
        )
    return Standby(etcd, primary, mirror)


def uncovered(etcds: Iterable[str], standbys: Iterable[Standby]) -> list[str]:
    """An error for each etcd without a known standby."""
    known = {one.etcd for one in standbys}
    return [f"etcd {etcd}: no standby is known: STANDBYS does not name it" for etcd in etcds if etcd not in known]


def check(standby: Standby, rules: Rules, open_endpoint: OpenEndpoint) -> tuple[list[str], int]:
    """Problems of an etcd's standby, and its learners' lag in revisions; raises EtcdError."""
    with open_endpoint(standby.primary) as primary:
        if not standby.mirror:
            return _check_learners(standby, primary, rules, open_endpoint)
        with open_endpoint(standby.mirror) as mirror:
            return _check_mirror(standby, primary, mirror, rules), 0


def _check_learners(
    standby: Standby, primary: Endpoint, rules: Rules, open_endpoint: OpenEndpoint
) -> tuple[list[str], int]:
    """Problems of an etcd's learners, and the slowest one's lag in revisions."""
    members: list[Json] = primary.post("cluster/member/list", {"linearizable": False})["members"]
    learners = [member for member in members if member.get("isLearner")]
    if not learners:
        return [f"etcd {standby.etcd}: no learner among its {len(members)} members: there is no warm standby"], 0
    target = revision(primary.post("maintenance/status"))
    problems, worst = [], 0
    for learner in learners:
        name = learner.get("name") or f"{int(learner['ID']):x}"
        urls = learner.get("clientURLs") or []
        if not urls:
            problems.append(f"etcd {standby.etcd}: learner {name} has never started")
            continue
        try:
            with open_endpoint(urls[0]) as endpoint:
                lag = target - wait_for_revision(endpoint, target - rules.lag, rules.seconds)
        except EtcdError as error:
            problems.append(f"etcd {standby.etcd}: standby {name} is unavailable: {error}")
            continue
        worst = max(worst, lag)
        if lag > rules.lag:
            problems.append(
                f"etcd {standby.etcd}: standby {name} ({urls[0]}) is {lag} revisions behind after {rules.seconds:g} s"
            )
    return problems, worst


def _check_mirror(standby: Standby, primary: Endpoint, mirror: Endpoint, rules: Rules) -> list[str]:
    """Problems of a mirror: it must have, in time, the value that the primary's key had at the start of the check."""
    values = {_value(primary, rules.mirror_key)}
    if None in values:
        return [
            f"etcd {standby.etcd}: the key {rules.mirror_key} (MIRROR_KEY) does not exist, so nothing can be compared"
        ]
    deadline = time.monotonic() + rules.seconds
    while True:
        try:
            mirrored = _value(mirror, rules.mirror_key)
        except EtcdError as error:
            return [f"etcd {standby.etcd}: standby {standby.mirror} is unavailable: {error}"]
        if mirrored in values:
            return []
        if time.monotonic() >= deadline:
            what = "lacks" if mirrored is None else "has an older value of"
            description = f"standby {standby.mirror} {what} {rules.mirror_key}"
            return [f"etcd {standby.etcd}: {description}: more than {rules.seconds:g} s behind"]
        time.sleep(0.2)
        values.add(_value(primary, rules.mirror_key))


def _value(endpoint: Endpoint, key: str) -> str | None:
    found = endpoint.post("kv/range", {"key": encoded(key), "serializable": True}).get("kvs") or []
    return decoded(found[0].get("value", "")) if found else None
