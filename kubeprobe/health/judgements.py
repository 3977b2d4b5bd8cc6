"""What the facts about an installation mean, and what to do about them: pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from kubeprobe.fleet.check import Finding
from kubeprobe.health.facts import LATE, FleetHealth, LeftoverHealth, RunHealth, SourceHealth
from kubeprobe.queue import (
    DELIVERY_QUEUE,
    HOUSEKEEPING_QUEUE,
    MANY_WAITING,
    REQUEST_QUEUE,
    RESPONSE_QUEUE,
    launch_queue,
)
from kubeprobe.store.clock import ALLOWED_SKEW
from kubeprobe.vocabulary import Reason

NAMED = 5
BEAT = "celery -A beat_schedule beat -S beat_schedule.SlotScheduler"
LAUNCHER = "celery -A workers.app worker -P threads -Q {queues}"


def judge_catalog(unreadable: Mapping[str, str]) -> Iterator[Finding]:
    """Whether this version can read every stored entry. `unreadable`: what is invalid, by `KIND NAME`."""
    if not unreadable:
        yield Finding("catalog", ok=True, found="every entry is valid in this version of KubeProbe")
    for entry, found in sorted(unreadable.items()):
        remedy = f"fix the YAML of {entry} and `kubeprobe apply` it again; the other entries work"
        yield Finding(f"catalog {entry}", ok=False, found=found, remedy=remedy)


def judge_beat(runs: RunHealth, lengths: Mapping[str, int] | None) -> Finding:
    """Whether due runs are issued, and sent again. It sends nothing to a long queue, nor to a broker without answers.

    `lengths`: messages in each queue; None if the broker is unavailable.
    """
    remedy = f"start beat: {BEAT}"
    if runs.overdue_schedules:
        found = f"{_count(runs.overdue_schedules, 'schedule')} due for more than 30 s and not issued"
        return Finding("beat", ok=False, found=found, remedy=remedy)
    unsent = {} if lengths is None else {p: n for p, n in runs.unsent.items() if launch_queue(p) not in _long(lengths)}
    if unsent:
        found = f"{_count(sum(unsent.values()), 'run')} not sent to a launcher in time"
        return Finding("beat", ok=False, found=found, remedy=remedy)
    if not runs.schedules:
        return Finding("beat", ok=True, found="no schedules, so beat has nothing to do")
    return Finding("beat", ok=True, found=f"nothing overdue of {_count(runs.schedules, 'schedule')}")


def judge_workers(queues: Mapping[str, int], fleet: FleetHealth) -> Iterator[Finding]:
    """Whether every queue has a worker."""
    for pool in sorted(fleet.pools):
        yield _served(queues, f"launchers {pool}", (launch_queue(pool),))
    yield _served(queues, "requests", (REQUEST_QUEUE,))
    yield _served(queues, "responders", (RESPONSE_QUEUE, DELIVERY_QUEUE, HOUSEKEEPING_QUEUE))


def judge_queues(lengths: Mapping[str, int]) -> Finding:
    """Whether messages are taken out of the queues as fast as they come."""
    long = _long(lengths)
    if not long:
        return Finding("queues", ok=True, found=f"at most {max(lengths.values(), default=0)} messages in one")
    name = max(long, key=lambda queue: long[queue])
    found = ", ".join(f"{length:,} messages wait in {queue}" for queue, length in sorted(long.items())[:NAMED])
    remedy = f"start more workers: {LAUNCHER.format(queues=name)}; waiting messages need not be deleted"
    return Finding("queues", ok=False, found=found, remedy=remedy)


def judge_fleet(fleet: FleetHealth) -> Iterator[Finding]:
    """Whether every cluster is watched, bound and reachable."""
    if not fleet.pools:
        remedy = "kubeprobe cluster add NAME --kubeconfig FILE"
        yield Finding("clusters", ok=False, found="none", remedy=remedy)
        return
    for pool, clusters in sorted(fleet.pools.items()):
        yield _collectors(pool, clusters, fleet)
    if fleet.unreachable:
        remedy = f"kubeprobe cluster check {fleet.unreachable[0]}"
        yield Finding("reachability", ok=False, found=f"unreachable: {_names(fleet.unreachable)}", remedy=remedy)
    else:
        yield Finding("reachability", ok=True, found="all clusters reachable")
    if fleet.troubles:
        cluster, trouble = min(fleet.troubles.items())
        more = f" (and {_count(len(fleet.troubles) - 1, 'other cluster')})" if len(fleet.troubles) > 1 else ""
        remedy = f"kubeprobe cluster check {cluster}; the collector's log has the details"
        yield Finding("watching", ok=False, found=f"{cluster}{more}: {trouble}", remedy=remedy)
    if fleet.unbound:
        remedy = "apply a binding that matches their labels"
        yield Finding("bindings", ok=False, found=f"no binding matches {_names(fleet.unbound)}", remedy=remedy)
    else:
        yield Finding("bindings", ok=True, found="every cluster has at least one")
    if fleet.cordoned:
        yield Finding("maintenance", ok=True, found=f"cordoned, nothing runs there: {_names(fleet.cordoned)}")


def judge_outcomes(runs: RunHealth) -> Iterator[Finding]:
    """Whether runs end in time, and people are notified."""
    waiting = ", ".join(f"{count} in pool {pool}" for pool, count in sorted(runs.waiting.items()))
    if waiting:
        remedy = "see launchers; `kubeprobe show RUN` says what a run waits for"
        yield Finding("launching", ok=False, found=f"runs waiting for more than 30 s: {waiting}", remedy=remedy)
    if runs.overdue:
        remedy = "see responders: they serve the housekeeping queue"
        yield Finding("deadlines", ok=False, found=f"{_count(runs.overdue, 'run')} past all deadlines", remedy=remedy)
    if runs.own_faults:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(runs.own_faults.items()))
        remedy = _REMEDIES[max(runs.own_faults, key=lambda reason: runs.own_faults[reason])]
        yield Finding("last hour", ok=False, found=f"unknown because of KubeProbe itself: {counts}", remedy=remedy)
    else:
        yield Finding("last hour", ok=True, found="no run was lost or missed")
    if runs.unprocessed:
        remedy = "see responders"
        found = f"{_count(runs.unprocessed, 'outcome')} not processed for more than 30 s"
        yield Finding("alerting", ok=False, found=found, remedy=remedy)
    if runs.set_aside:
        remedy = "see the responders' logs; the rows of these alerts or standings contradict each other"
        yield Finding("set aside", ok=False, found=f"outcomes not processed: {_names(runs.set_aside)}", remedy=remedy)
    if runs.undelivered:
        remedy = "correct the target in its AlertRoute, or the connection to it"
        yield Finding("notifications", ok=False, found=f"not delivered: {_names(runs.undelivered)}", remedy=remedy)
    else:
        yield Finding("notifications", ok=True, found="all delivered")


def judge_sources(sources: Sequence[SourceHealth], now: datetime) -> Iterator[Finding]:
    """Whether every source is synced, and its newest commit is applied."""
    for source in sources:
        check = f"source {source.name}"
        drift = f"; {_count(source.drifted, 'entry differs', 'entries differ')} from it" if source.drifted else ""
        if source.is_paused:
            yield Finding(check, ok=True, found=f"paused: pushes are not applied{drift}")
        elif source.error:
            cause = (
                "fix it in the repository" if source.is_refused else "check the repository's address and credentials"
            )
            remedy = f"{cause}; see `kubeprobe source show {source.name}`"
            yield Finding(check, ok=False, found=source.error.partition("\n")[0], remedy=remedy)
        elif now - source.next_sync > LATE:
            found = f"sync is {(now - source.next_sync).total_seconds():.0f} s late"
            yield Finding(
                check, ok=False, found=found, remedy="see beat, and responders: they serve the housekeeping queue"
            )
        else:
            yield Finding(check, ok=True, found=f"applied at {(source.applied_commit or '')[:12]}{drift}")


def judge_leftovers(found: LeftoverHealth) -> Finding:
    """Whether objects that killed probes leave behind are removed."""
    check = "leftovers"
    if found.not_allowed:
        cluster, rights = min(found.not_allowed.items())
        more = f" (and {_count(len(found.not_allowed) - 1, 'other cluster')})" if len(found.not_allowed) > 1 else ""
        remedy = f"kubeprobe cluster setup {cluster} --own --apply, or grant these rights to KubeProbe's user"
        missing = f"orphaned objects on {cluster}{more} are not removed: may not {rights}"
        missing += f"; stuck: {_names(found.stuck)}" if found.stuck else ""
        return Finding(check, ok=False, found=missing, remedy=remedy)
    if found.stuck:
        remedy = "see what its finalizers wait for; KubeProbe has deleted it and removes no finalizers"
        return Finding(check, ok=False, found=f"stuck: {_names(found.stuck)}", remedy=remedy)
    if found.removed:
        counts = ", ".join(f"{count} of {what}" for what, count in sorted(found.removed.items()))
        return Finding(check, ok=True, found=f"removed in the last day: {counts}")
    return Finding(check, ok=True, found="none in the last day")


def judge_clock(theirs: datetime | None, ours: datetime, wrong: Mapping[str, timedelta]) -> Finding:
    """Whether the machines' clocks agree with the database server's. `wrong`: by how much a process's is ahead."""
    if theirs is None:
        return Finding("clock", ok=True, found="SQLite: one clock")
    found = [f"{process} is {_skew(ahead)}" for process, ahead in sorted(wrong.items())]
    if abs(ours - theirs) > ALLOWED_SKEW:
        found.insert(0, f"this machine is {_skew(ours - theirs)}")
    if not found:
        return Finding("clock", ok=True, found="every process agrees with the database server")
    remedy = "synchronise the clocks of all machines (NTP); meanwhile KubeProbe uses the database server's time"
    return Finding("clock", ok=False, found=f"{_names(found)} of the database server", remedy=remedy)


def _skew(ahead: timedelta) -> str:
    return f"{abs(ahead.total_seconds()):.0f} s {'ahead' if ahead > timedelta(0) else 'behind'}"


def _long(lengths: Mapping[str, int]) -> dict[str, int]:
    return {queue: length for queue, length in lengths.items() if length >= MANY_WAITING}


def _served(queues: Mapping[str, int], check: str, needed: Sequence[str]) -> Finding:
    missing = [name for name in needed if not queues.get(name)]
    if missing:
        remedy = f"start one: {LAUNCHER.format(queues=','.join(needed))}"
        return Finding(check, ok=False, found=f"no worker serves queue {', '.join(missing)}", remedy=remedy)
    return Finding(check, ok=True, found=f"{min(queues[name] for name in needed)} running")


def _collectors(pool: str, clusters: int, fleet: FleetHealth) -> Finding:
    alive, unwatched = fleet.collectors.get(pool, 0), fleet.unwatched.get(pool, ())
    check = f"collectors {pool}"
    if not alive:
        found = f"none running: {_count(clusters, 'cluster')} not watched"
        return Finding(check, ok=False, found=found, remedy=f"start one: KUBEPROBE_POOL={pool} kubeprobe collector")
    if unwatched:
        remedy = "wait a few seconds, as collectors share clusters out; then see their logs"
        return Finding(check, ok=False, found=f"{alive} running, but {_names(unwatched)} not watched", remedy=remedy)
    return Finding(check, ok=True, found=f"{alive} running, watching {_count(clusters, 'cluster')}")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _count(number: int, what: str, many: str = "") -> str:
    return f"{number} {what if number == 1 else many or f'{what}s'}"


_REMEDIES: Mapping[str, str] = {
    Reason.LOST: "see collectors: the pod's end was not observed",
    Reason.NOT_LAUNCHED: "see the outcomes' messages; for runs that waited: more launchers, or a higher cap on pods "
    "(--max-in-flight)",
    Reason.MISSED: "see beat: it was not running when slots were due",
}
