"""What a target accepted last becomes what is stored, and a recovery never follows a newer failure."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeprobe.catalog import CatalogCache
from kubeprobe.catalog.model import RouteTarget
from kubeprobe.response import deliver, due_targets, respond, targets
from kubeprobe.response.claim import LEASE
from kubeprobe.response.deliver import LONGEST_RETRY_AFTER
from kubeprobe.response.message import Message, MessageKind
from kubeprobe.response.routes import TargetRef
from kubeprobe.store import Alert, AlertRoute, Notification, Store
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.services.response.given import World

_serial = count()
OPENS = {MessageKind.FAILED: "fail", MessageKind.UNKNOWN: "unknown"}

answers = st.sampled_from(
    ["200", "503", "429", "500", "refused", "lost after acceptance", "killed before", "killed after"]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("outcome"), st.sampled_from([Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN])),
        st.tuples(st.just("send"), answers),
        st.tuples(st.just("wait"), st.sampled_from([5, 30, 90, 4000])),
    ),
    min_size=4,
    max_size=24,
)


class Killed(BaseException):
    """The responder was killed."""


@dataclass
class Target:
    """What the target accepted, and how it responds next."""

    answer: str = "200"
    accepted: list[Message] = field(default_factory=list)

    def send(self, _target: RouteTarget, message: Message, _delivery: targets.Delivery) -> None:
        match self.answer:
            case "200":
                self.accepted.append(message)
            case "lost after acceptance":
                self.accepted.append(message)
                raise targets.TemporaryTargetError("no response", may_have_arrived=True)
            case "500":
                raise targets.TemporaryTargetError("responded 500", may_have_arrived=True)
            case "429":
                raise targets.TemporaryTargetError("responded 429", retry_after=timedelta(seconds=40))
            case "killed before":
                raise Killed
            case "killed after":
                self.accepted.append(message)
                raise Killed
            case _:
                raise targets.TemporaryTargetError(f"responded {self.answer}")

    def believes(self) -> set[str]:
        """The kinds of alerts that are open, by what the target accepted."""
        open_kinds: set[str] = set()
        for message in self.accepted:
            (open_kinds.add if message.kind in OPENS else open_kinds.discard)(str(message.alert_kind))
        return open_kinds


@given(steps=steps)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_a_target_accepted_last_becomes_what_is_stored(
    store: Store, now: datetime, steps: list[tuple[str, Any]]
) -> None:
    world, name = World(store, now), f"n{next(_serial)}"
    world.cluster(name)
    world.case(alertAfter=1, unknownAfter=1)
    world.route(name, {"name": "hook", "webhook": {"url": "http://hook.example"}})
    try:
        _play(world, name, steps)
    finally:
        world.remove(AlertRoute, name)


def _play(world: World, name: str, steps: list[tuple[str, Any]]) -> None:
    store, target, catalogs, minute = world.store, Target(), CatalogCache(), 0.0
    to = TargetRef(name, "hook")

    def send(answer: str) -> NotificationState | None:
        target.answer = answer
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(targets, "send", target.send)
            try:
                return deliver(store, catalogs, to, lambda: world.at(minute))
            except Killed:
                return None

    for what, value in steps:
        minute += 0.01
        if what == "outcome":
            world.outcome(value, minute, cluster=name)
            respond(store, catalogs, world.at(minute))
        elif what == "send":
            send(value)
        else:
            minute += value / 60
        _check_order(target.accepted)
    # The target works again: it accepts whatever is still sent.
    for _ in range(len(steps) + 1):
        if not any(row.route == name and row.state in {"pending", "sending"} for row in world.all(Notification)):
            break
        minute += (LONGEST_RETRY_AFTER + LEASE).total_seconds() / 60
        assert to in due_targets(store, world.at(minute))
        while send("200"):
            _check_order(target.accepted)
    else:
        pytest.fail("messages are left that are not sent")
    stored = {row.kind for row in world.all(Alert) if row.cluster == name and row.closed_at is None}
    assert target.believes() == stored


def _check_order(accepted: list[Message]) -> None:
    versions = [message.version for message in accepted]
    assert versions == sorted(versions), "an older message arrived after a newer one"
