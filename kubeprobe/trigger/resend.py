"""Sending again: runs whose wake was lost, and runs whose launcher died with its claim (promise 2).

Beat asks once a tick. Each time a run is sent again it waits twice as long for the next, so that a slow pool is not
flooded; a wake too many finds nothing to claim and costs one statement.
"""

from datetime import datetime

from sqlalchemy import case, update
from sqlmodel import col, select

from kubeprobe.settings import Settings
from kubeprobe.store import Run, Store, awaits_pod
from kubeprobe.trigger.open import OpenedRun
from kubeprobe.vocabulary import RunState

BATCH = 1000
DOUBLINGS = 4
"""The wait for the next wake grows from `resend_after` to 16 times of it."""


def due_wakes(store: Store, now: datetime, settings: Settings) -> list[OpenedRun]:
    """Runs that no launcher has seen to in time, back to pending; each is given to one caller only. One statement."""
    overdue = (
        select(col(Run.id))
        .where(awaits_pod(), col(Run.wake_at) <= now)
        .order_by(col(Run.wake_at))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    waits = {wakes: now + settings.resend_after * 2**wakes for wakes in range(DOUBLINGS + 1)}
    sent_again = (
        update(Run)
        .where(col(Run.id).in_(overdue.scalar_subquery()))
        .values(
            state=RunState.PENDING,
            wakes=col(Run.wakes) + 1,
            wake_at=case(waits, value=col(Run.wakes), else_=waits[DOUBLINGS]),
        )
        .returning(col(Run.id), col(Run.slot), col(Run.cluster), col(Run.pool), col(Run.case))
    )
    with store.writing() as session:
        rows = session.execute(sent_again, execution_options={"synchronize_session": False}).all()
    return [OpenedRun(*row) for row in rows]
