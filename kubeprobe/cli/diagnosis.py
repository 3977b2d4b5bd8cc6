"""What the facts about an installation mean, and what to do: pure functions, asked by `doctor`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from kubeprobe.fleet.check import Finding
from kubeprobe.queue import HOUSEKEEPING_QUEUE, REQUEST_QUEUE, RESPONSE_QUEUE, launch_queue
from kubeprobe.views.health import LATE, FleetHealth, RunHealth
from kubeprobe.views.leftovers import LeftoverHealth
from kubeprobe.views.sources import SourceView
from kubeprobe.vocabulary import Reason

ALLOWED_SKEW = timedelta(seconds=5)
NAMED = 5
BEAT = "celery -A beat_schedule beat -S beat_schedule.SlotScheduler"
LAUNCHER = "celery -A workers.app worker -P threads -Q {queues}"


def judge_beat(runs: RunHealth) -> Finding:
    """Whether somebody issues what is due."""
    remedy = f"start beat: {BEAT}"
    if runs.overdue_schedules:
        found = f"{_count(runs.overdue_schedules, 'schedule')} due for more than 30 s and not issued"
        return Finding("beat", ok=False, found=found, remedy=remedy)
    if runs.unsent:
        found = f"{_count(runs.unsent, 'run')} not sent again in time"
        return Finding("beat", ok=False, found=found, remedy=remedy)
    if not runs.schedules:
        return Finding("beat", ok=True, found="nothing is due, so whether it lives does not show")
    return Finding("beat", ok=True, found=f"nothing overdue of {_count(runs.schedules, 'schedule')}")


def judge_workers(queues: Mapping[str, int], fleet: FleetHealth) -> Iterator[Finding]:
    """Whether every queue has somebody who serves it."""
    for pool in sorted(fleet.pools):
        yield _served(queues, f"launchers {pool}", (launch_queue(pool),))
    yield _served(queues, "requests", (REQUEST_QUEUE,))
    yield _served(queues, "responders", (RESPONSE_QUEUE, HOUSEKEEPING_QUEUE))


def judge_fleet(fleet: FleetHealth) -> Iterator[Finding]:
    """Whether every cluster is watched, bound and within reach."""
    if not fleet.pools:
        remedy = "kubeprobe cluster add NAME --kubeconfig FILE"
        yield Finding("clusters", ok=False, found="there are none", remedy=remedy)
        return
    for pool, clusters in sorted(fleet.pools.items()):
        yield _collectors(pool, clusters, fleet)
    if fleet.unreachable:
        remedy = f"kubeprobe cluster check {fleet.unreachable[0]}"
        yield Finding("reach", ok=False, found=f"not answering: {_names(fleet.unreachable)}", remedy=remedy)
    else:
        yield Finding("reach", ok=True, found="no cluster is left alone for not answering")
    if fleet.unbound:
        remedy = "write a binding that matches their labels, and apply it"
        yield Finding("bindings", ok=False, found=f"nothing is bound to {_names(fleet.unbound)}", remedy=remedy)
    else:
        yield Finding("bindings", ok=True, found="every cluster has one")
    if fleet.cordoned:
        yield Finding("maintenance", ok=True, found=f"cordoned, so nothing runs there: {_names(fleet.cordoned)}")


def judge_outcomes(runs: RunHealth) -> Iterator[Finding]:
    """Whether runs come to their end, and people hear of it."""
    waiting = ", ".join(f"{count} in pool {pool}" for pool, count in sorted(runs.waiting.items()))
    if waiting:
        remedy = "see launchers; `kubeprobe show RUN` tells what one waits for"
        yield Finding("launching", ok=False, found=f"runs waiting for more than 30 s: {waiting}", remedy=remedy)
    if runs.overdue:
        remedy = "see responders: they serve the housekeeping queue"
        yield Finding("endings", ok=False, found=f"{_count(runs.overdue, 'run')} past all deadlines", remedy=remedy)
    if runs.troubled:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(runs.troubled.items()))
        remedy = _REMEDIES[max(runs.troubled, key=lambda reason: runs.troubled[reason])]
        yield Finding("last hour", ok=False, found=f"unknown for KubeProbe's own sake: {told}", remedy=remedy)
    else:
        yield Finding("last hour", ok=True, found="no run was lost or missed")
    if runs.unanswered:
        remedy = "see responders"
        yield Finding("answers", ok=False, found=f"{_count(runs.unanswered, 'outcome')} unanswered", remedy=remedy)
    if runs.undelivered:
        remedy = "correct the target in its AlertRoute, or mend the way there"
        yield Finding("messages", ok=False, found=f"not delivered: {_names(runs.undelivered)}", remedy=remedy)
    else:
        yield Finding("messages", ok=True, found="all delivered")


def judge_sources(sources: Sequence[SourceView], now: datetime) -> Iterator[Finding]:
    """Whether every source is looked at, and what is in its repository is in force."""
    for source in sources:
        check = f"source {source.name}"
        drift = f"; {_count(len(source.drift), 'entry', 'entries')} not as it says" if source.drift else ""
        if source.state == "paused":
            yield Finding(check, ok=True, found=f"paused, so what is pushed is not applied{drift}")
        elif source.error:
            remedy = f"mend it in the repository, or see `kubeprobe source show {source.name}`"
            yield Finding(check, ok=False, found=source.error.partition("\n")[0], remedy=remedy)
        elif now - source.next_sync > LATE:
            found = f"should have been looked at {(now - source.next_sync).total_seconds():.0f} s ago"
            yield Finding(check, ok=False, found=found, remedy="see beat, and responders: they serve housekeeping")
        else:
            yield Finding(check, ok=True, found=f"in force at {(source.applied_commit or '')[:12]}{drift}")


def judge_leftovers(found: LeftoverHealth) -> Finding:
    """Whether what killed probes leave behind goes away."""
    check = "leftovers"
    if found.not_allowed:
        cluster, rights = min(found.not_allowed.items())
        more = f" (and {_count(len(found.not_allowed) - 1, 'other cluster')})" if len(found.not_allowed) > 1 else ""
        remedy = f"kubeprobe cluster setup {cluster} --own --apply, or grant these rights to KubeProbe's user"
        told = f"what killed probes left on {cluster}{more} stays: may not {rights}"
        return Finding(check, ok=False, found=told, remedy=remedy)
    if found.stuck:
        remedy = "see what its finalizers wait for; KubeProbe has deleted it and takes none away"
        return Finding(check, ok=False, found=f"stuck: {_names(found.stuck)}", remedy=remedy)
    if found.removed:
        told = ", ".join(f"{count} of {what}" for what, count in sorted(found.removed.items()))
        return Finding(check, ok=True, found=f"removed in the last day: {told}")
    return Finding(check, ok=True, found="nothing was left behind in the last day")


def judge_clock(theirs: datetime | None, ours: datetime) -> Finding:
    """Whether the database's clock agrees with ours."""
    if theirs is None:
        return Finding("clock", ok=True, found="the store is a file here: one clock")
    skew = theirs - ours
    if abs(skew) <= ALLOWED_SKEW:
        return Finding("clock", ok=True, found="the database's agrees with ours")
    found = (
        f"the database's is {abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} ours"
    )
    return Finding("clock", ok=False, found=found, remedy="synchronise the clocks (NTP) of all machines")


def _served(queues: Mapping[str, int], check: str, needed: Sequence[str]) -> Finding:
    missing = [name for name in needed if not queues.get(name)]
    if missing:
        remedy = f"start one: {LAUNCHER.format(queues=','.join(needed))}"
        return Finding(check, ok=False, found=f"nobody serves queue {', '.join(missing)}", remedy=remedy)
    return Finding(check, ok=True, found=f"{min(queues[name] for name in needed)} alive")


def _collectors(pool: str, clusters: int, fleet: FleetHealth) -> Finding:
    alive, unwatched = fleet.collectors.get(pool, 0), fleet.unwatched.get(pool, ())
    check = f"collectors {pool}"
    if not alive:
        found = f"none alive, so nobody watches {_count(clusters, 'cluster')}"
        return Finding(check, ok=False, found=found, remedy=f"start one: KUBEPROBE_POOL={pool} kubeprobe collector")
    if unwatched:
        remedy = "wait for a few seconds: collectors share clusters out; else look at their logs"
        return Finding(check, ok=False, found=f"{alive} alive, but nobody watches {_names(unwatched)}", remedy=remedy)
    return Finding(check, ok=True, found=f"{alive} alive, watching {_count(clusters, 'cluster')}")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _count(number: int, what: str, many: str = "") -> str:
    return f"{number} {what if number == 1 else many or f'{what}s'}"


_REMEDIES: Mapping[str, str] = {
    Reason.LOST: "see collectors: a pod's end was not seen",
    Reason.NOT_LAUNCHED: "see launchers: more of them, or a higher cap on pods (--max-in-flight)",
    Reason.MISSED: "see beat: slots passed while it was away",
}
