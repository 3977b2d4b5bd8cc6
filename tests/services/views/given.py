"""Fills a store with clusters, runs and outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, select

from kubeprobe.runs import Ending, Judgement, Opening, close, open_runs
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Node, Run, Schedule, Standing, Store
from kubeprobe.vocabulary import Reason, Subject, Trigger, Verdict

REASONS = {
    Verdict.PASS: Reason.PASSED,
    Verdict.FAIL: Reason.REPORTED_FAILURE,
    Verdict.UNKNOWN: Reason.IMAGE_NOT_PULLED,
}
REPORTS = {
    Verdict.PASS: {"ok": True, "errors": [], "steps": [{"name": "create", "ms": 81, "ok": True}]},
    Verdict.FAIL: {"ok": False, "errors": ["no answer from coredns"], "steps": []},
}


@dataclass
class World:
    """Adds rows to a store. Every run has its own slot."""

    store: Store
    now: datetime
    slots: int = 0

    def cluster(self, name: str, **labels: str) -> None:
        with self.store.writing() as session:
            session.add(Cluster(name=name, labels=labels, connection_kind="local", connection=b"", created_at=self.now))

    def change_cluster(self, name: str, **columns: object) -> None:
        with self.store.writing() as session:
            session.get_one(Cluster, name).sqlmodel_update(columns)

    def schedule(self, case: str, cluster: str, next_due: datetime, paused_at: datetime | None = None) -> None:
        with self.store.writing() as session:
            session.add(
                Schedule(
                    binding="core",
                    case=case,
                    cluster=cluster,
                    pool="default",
                    every_s=60,
                    next_due=next_due,
                    paused_at=paused_at,
                )
            )

    def standing(self, case: str, cluster: str, verdict: Verdict, node: str = "") -> None:
        times = {"since": self.now, "due_at": self.now}
        with self.store.writing() as session:
            session.add(Standing(cluster=cluster, case=case, node=node, verdict=verdict, run_id="0" * 26, **times))

    def node(self, name: str, cluster: str = "prod-1", *, unschedulable: bool = False) -> None:
        times = {"created_at": self.now, "seen_at": self.now}
        with self.store.writing() as session:
            session.add(Node(cluster=cluster, name=name, uid=name, unschedulable=unschedulable, **times))

    def opened(
        self,
        case: str = "dns",
        cluster: str = "prod-1",
        at: datetime | None = None,
        binding: str | None = None,
        node: str | None = None,
    ) -> str:
        """Open a run; returns its id."""
        self.slots += 1
        opening = Opening(
            slot=f"slot-{self.slots}",
            trigger=Trigger.PERIODIC if binding else Trigger.MANUAL,
            case=case,
            subject=Subject(cluster, node or ""),
            pool="default",
            due_at=at or self.now,
            binding=binding,
        )
        with self.store.writing() as session:
            return open_runs(session, [opening], at or self.now, Settings())[0].id

    def ran(self, verdicts: Sequence[Verdict]) -> None:
        """Open a run for each verdict, and store its outcome, in one transaction."""
        openings = [
            Opening(f"many-{number}", Trigger.MANUAL, "dns", Subject("prod-1"), "default", self.now)
            for number in range(len(verdicts))
        ]
        with self.store.writing() as session:
            opened = open_runs(session, openings, self.now, Settings())
            found = [Judgement(verdict, REASONS[verdict]) for verdict in verdicts]
            close(session, [Ending(run.id, judged) for run, judged in zip(opened, found, strict=True)], self.now)

    def ended(self, run_id: str, verdict: Verdict = Verdict.PASS, at: datetime | None = None) -> None:
        """Store a run's outcome."""
        with self.store.writing() as session:
            end(session, run_id, verdict, at or self.now)

    def run(self, verdict: Verdict = Verdict.PASS, at: datetime | None = None, **opening: str) -> str:
        """Open a run and store its outcome a second later; returns its id."""
        run_id = self.opened(at=at, **opening)
        self.ended(run_id, verdict, (at or self.now) + timedelta(seconds=1))
        return run_id


def end(session: Session, run_id: str, verdict: Verdict, now: datetime) -> None:
    """Store a run's outcome, with a report unless the verdict is unknown."""
    started = now - timedelta(seconds=2)
    judgement = Judgement(
        verdict,
        REASONS[verdict],
        message="" if verdict is Verdict.PASS else f"recorded as {verdict}",
        report=REPORTS.get(verdict),
        started_at=started,
        finished_at=now,
    )
    close(session, [Ending(run_id, judgement)], now)


def end_all(store: Store, verdicts: dict[str, Verdict], now: datetime) -> int:
    """Give every open run the verdict of its cluster; returns their number."""
    with store.writing() as session:
        runs = session.exec(select(Run).where(Run.state != "done")).all()
        for run in runs:
            end(session, run.id, verdicts[run.cluster], now)
    return len(runs)
