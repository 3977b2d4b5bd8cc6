"""Wakes workers for what waits in the store: messages that were lost, and housekeeping.

Beat calls it every second, apart from its tick: it waits for the broker, and no slot may be late for that.
"""

from datetime import datetime

from sqlmodel import col, select

from kubeprobe.effects import Effects, dispatch
from kubeprobe.queue import MANY_WAITING, Queue, launch_queue
from kubeprobe.runs import resend_overdue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.trigger.housekeeping import due_housekeeping


def wake_workers(store: Store, queue: Queue, now: datetime, settings: Settings) -> None:
    """Send again the runs that no launcher has claimed in time, and wake responders for housekeeping that is due.

    Runs of a pool whose queue is long remain overdue: it has no launchers, or too few. While the broker is unavailable
    all of them do, so that they are sent as soon as it is back.
    """
    with store.reading() as session:
        pools = session.exec(select(col(Cluster.pool)).distinct()).all()
    lengths = queue.lengths([launch_queue(pool) for pool in pools])
    if lengths is None:
        return
    busy = [pool for pool in pools if lengths[launch_queue(pool)] >= MANY_WAITING]
    queue.wake_housekeeping(due_housekeeping(store, now))  # first: an error about runs must not stop it
    dispatch(queue, Effects(launch=resend_overdue(store, now, settings, except_pools=busy)), settings.batch_size)
