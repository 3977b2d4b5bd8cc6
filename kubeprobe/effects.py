"""What a transaction asks for besides its rows, and the one place that sends it, after the commit.

Beneath all stages. The caller of a function that writes dispatches its `Effects` once the transaction is committed, so
that nothing is published inside of one or before it (promise 4). What is lost on the way is sent again from the store
(promise 2), so a broker that cannot be reached is no error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from kubeprobe.queue import Queue, Wakeable, wakes_for


@dataclass(frozen=True)
class Effects:
    """Who is to be woken for what; nobody by default."""

    launch: Sequence[Wakeable] = ()
    """Runs that wait for a launcher."""
    remove: Sequence[Wakeable] = ()
    """Runs that ended before their pods; a launcher is to remove those."""
    responders: int = 0
    """How many responders are to fold outcomes, each a batch of them."""
    deliver: Sequence[str] = ()
    """Ids of notifications that are to be sent."""
    sync_sources: bool = False
    """Whether sources are due."""

    def __add__(self, other: Self) -> "Effects":
        """Of two transactions together. One responder is enough for both, if each asks for no more."""
        return Effects(
            launch=(*self.launch, *other.launch),
            remove=(*self.remove, *other.remove),
            responders=max(self.responders, other.responders),
            deliver=(*self.deliver, *other.deliver),
            sync_sources=self.sync_sources or other.sync_sources,
        )


def dispatch(queue: Queue, effects: Effects, batch_size: int) -> bool:
    """Send what committed transactions ask for; `batch_size`: runs of one cluster that one message carries.

    False if the broker could not be reached: then beat and housekeeping send it from the store, seconds later.
    """
    sent = [queue.wake_responder() for _ in range(effects.responders)]
    sent.append(queue.wake_launchers(wakes_for(effects.launch, batch_size)))
    sent += [queue.remove_pods(one.pool, one.cluster, one.run_ids) for one in wakes_for(effects.remove, batch_size)]
    sent.append(queue.deliver(effects.deliver))
    if effects.sync_sources:
        sent.append(queue.wake_sources())
    return all(sent)
