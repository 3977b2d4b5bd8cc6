"""Request runs, record changes, and wait for the outcomes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ulid import ULID

from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import Transaction, transaction
from kubeprobe.effects import Effects
from kubeprobe.errors import KubeProbeError
from kubeprobe.runs import worst
from kubeprobe.store import Change
from kubeprobe.trigger import RunRequest
from kubeprobe.trigger import record_change as open_runs_of_change
from kubeprobe.trigger import request_runs as open_requested_runs
from kubeprobe.views import RunView, run_ids_of_change, runs_by_id, wait_for_outcomes

NAMED = 5


class NotEndedError(KubeProbeError):
    """Some runs had no outcome within the time to wait. They continue; query them again later."""


@transaction(Permission.RUN)
def request_runs(tx: Transaction, request: RunRequest) -> tuple[str, ...]:
    """Open the requested runs; gives their ids. Raises as `trigger.request_runs`, with nothing opened."""
    opened = open_requested_runs(tx.session, tx.catalog, request, tx.now, tx.installation.settings)
    tx.effects += Effects(launch=opened)
    return tuple(run.id for run in opened)


@transaction(Permission.RUN)
def record_change(
    tx: Transaction,
    component: str,
    version: str = "",
    *,
    clusters: Sequence[str],
    change_id: str = "",
    node: str | None = None,
) -> tuple[str, ...]:
    """Record that a component changed, and open the runs that are bound to it; gives their ids.

    `change_id` is an idempotency key: a repeated id opens no new runs, and gives those of the first time. Raises as
    `trigger.record_change`, with nothing recorded.
    """
    change = Change(
        id=change_id or str(ULID.from_datetime(tx.now)).lower(),
        component=component,
        version=version,
        clusters=list(clusters),
        node=node,
        happened_at=tx.now,
    )
    recorded = open_runs_of_change(tx.session, tx.catalog, change, tx.now, tx.installation.settings)
    if not recorded.new:
        return run_ids_of_change(tx.session, change.id)
    tx.effects += Effects(launch=recorded.opened)
    return tuple(run.id for run in recorded.opened)


@dataclass(frozen=True, repr=False)
class RequestedRuns:
    """Runs that were requested, as a shell or a script works with them."""

    installation: Installation
    run_ids: tuple[str, ...]

    @property
    def runs(self) -> list[RunView]:
        """The runs in their present state."""
        return self.installation.read(runs_by_id, self.run_ids)

    @property
    def outcomes(self) -> list[RunView]:
        """Those of the runs that have their outcome."""
        return [run for run in self.runs if run.verdict is not None]

    @property
    def verdict(self) -> str | None:
        """The worst: fail before unknown before pass. None while a run has no outcome, and where there are no runs."""
        return worst(run.verdict for run in self.runs)

    def wait(
        self, timeout: float | None = None, on_progress: Callable[[list[RunView]], None] | None = None
    ) -> "RequestedRuns":
        """Return once every run has its outcome. Raises NotEndedError after `timeout` seconds."""
        runs = wait_for_outcomes(self._query, self.run_ids, timeout, on_progress)
        if waiting := [run for run in runs if run.verdict is None]:
            listed = ", ".join(f"{run.case} on {run.subject} ({run.state})" for run in waiting[:NAMED])
            more = f" and {len(waiting) - NAMED} more" if len(waiting) > NAMED else ""
            raise NotEndedError(f"No outcome after {timeout:g} s: {listed}{more}. `kubeprobe doctor` may show why.")
        return self

    def _query(self, run_ids: Sequence[str]) -> list[RunView]:
        return self.installation.read(runs_by_id, run_ids)

    def __repr__(self) -> str:
        lines = (
            f"{run.verdict or run.state:8} {run.case} on {run.subject}  {run.id}  {run.summary}".rstrip()
            for run in self.runs
        )
        return "\n".join(lines) or "no runs"
