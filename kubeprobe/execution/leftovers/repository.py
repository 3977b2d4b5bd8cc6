"""Leftovers in the store: the kinds to list in a cluster, the states of runs, and the results of sweeps.

Every method is one transaction, to be called in a thread. Next: `views` and `doctor` show the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import update
from sqlmodel import Session, col, select

from kubeprobe.catalog import CatalogCache, CatalogNotFoundError, CatalogUnreadableError
from kubeprobe.catalog.setup import Creatable, TargetCluster, cases_bound_to, creatable
from kubeprobe.execution.leftovers.decide import FoundObject, RunStates
from kubeprobe.execution.leftovers.sweep import Swept
from kubeprobe.store import Cluster, Leftover, Outcome, Run, Store, delete_batch, insert_ignoring_conflicts
from kubeprobe.vocabulary import RunState

log = structlog.get_logger(__name__)

LOOKUP = 500
LOOKBACK = timedelta(hours=1)
"""On a cluster that was never swept, cases that ran within so long are included besides the bound ones."""


@dataclass(frozen=True)
class LeftoverRepository:
    """Leftovers of all clusters."""

    store: Store
    catalogs: CatalogCache

    def targets(self, cluster: Cluster, now: datetime) -> list[Creatable]:
        """The kinds to list: what the bound cases and those run by hand may create, and those of known leftovers."""
        place = TargetCluster(cluster.name, cluster.namespace, cluster.labels)
        since = (cluster.swept_at or now) - LOOKBACK
        with self.store.reading() as session:
            catalog = self.catalogs.current(session)
            ran = session.exec(
                select(Run.case).where(Run.cluster == cluster.name, Run.due_at >= since).distinct()
            ).all()
            known = _known(session, cluster.name)
        found = {_target_of(row) for row in known}
        for case in {*ran, *cases_bound_to(catalog, place)}:
            try:
                found |= set(creatable(catalog, [case], place))
            except (CatalogNotFoundError, CatalogUnreadableError):  # it ran, and was removed or made invalid since
                continue
        return sorted(one for one in found if not one.namespace or Creatable(one.group, one.resource) not in found)

    def get_run_states(self, run_ids: Sequence[str]) -> RunStates:
        """Which of these runs are open, and when the others ended."""
        still_open, ended = set[str](), dict[str, datetime]()
        with self.store.reading() as session:
            for part in (run_ids[i : i + LOOKUP] for i in range(0, len(run_ids), LOOKUP)):
                rows = session.exec(
                    select(Run.id, Run.state, Outcome.stored_at)
                    .join(Outcome, col(Outcome.run_id) == col(Run.id), isouter=True)
                    .where(col(Run.id).in_(part))
                )
                for run_id, state, stored_at in rows:
                    if state == RunState.DONE and stored_at is not None:
                        ended[run_id] = stored_at
                    else:
                        still_open.add(run_id)
        return RunStates(frozenset(still_open), ended)

    def record(self, cluster: Cluster, swept: Swept, now: datetime) -> None:
        """Record what a sweep deleted, what is stuck, what no longer exists, and which rights are missing."""
        missing = ", ".join(sorted(swept.not_allowed))
        stuck = {found.uid: why for found, why in swept.stuck}
        rows = [*swept.removed, *(found for found, _ in swept.stuck)]
        with self.store.writing() as session:
            session.execute(
                update(Cluster).where(col(Cluster.name) == cluster.name).values(swept_at=now, sweep_trouble=missing)
            )
            known = {row.uid: row for row in _known(session, cluster.name)}
            for uid, row in known.items():
                if uid in stuck:
                    row.stuck = stuck[uid]
                elif uid not in swept.seen and swept.has_listed(_target_of(row)):
                    row.gone_at = now
            session.add_all(known.values())
            fresh = [found for found in rows if found.uid not in known]
            cases = _cases_of(session, fresh)
            values = [_row(cluster.name, found, stuck.get(found.uid, ""), cases, now) for found in fresh]
            if values:
                session.execute(insert_ignoring_conflicts(session, Leftover, values))
        for value in values:
            shown = {key: value[key] for key in ("case", "resource", "namespace", "name", "stuck")}
            log.warning("leftover stuck" if value["stuck"] else "leftover removed", run=value["run_id"], **shown)
        if missing and missing != cluster.sweep_trouble:
            log.warning("permissions to sweep missing", missing=missing)


def delete_old_leftovers(store: Store, before: datetime) -> int:
    """Delete a batch of the rows of leftovers that were found earlier; returns its size."""
    with store.writing() as session:
        return delete_batch(session, Leftover, col(Leftover.found_at) < before)


def _known(session: Session, cluster: str) -> Sequence[Leftover]:
    """The leftovers of a cluster that still existed at its last sweep."""
    return session.exec(select(Leftover).where(Leftover.cluster == cluster, col(Leftover.gone_at).is_(None))).all()


def _target_of(row: Leftover) -> Creatable:
    resource, _, group = row.resource.partition(".")
    return Creatable(group, resource, row.namespace)


def _cases_of(session: Session, found: Sequence[FoundObject]) -> dict[str, str]:
    ids = {one.run_id for one in found}
    return dict(session.exec(select(Run.id, Run.case).where(col(Run.id).in_(ids))).all()) if ids else {}


def _row(cluster: str, found: FoundObject, stuck: str, cases: dict[str, str], now: datetime) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "uid": found.uid,
        "run_id": found.run_id,
        "case": cases.get(found.run_id),
        "resource": found.target.qualified,
        "namespace": found.metadata.get("namespace", ""),
        "name": found.metadata["name"],
        "found_at": now,
        "gone_at": None,
        "stuck": stuck,
    }
