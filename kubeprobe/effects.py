"""The messages that a transaction requires, and the one function that sends them, after the commit.

Below all stages. The caller of a function that writes dispatches its `Effects` once the transaction is committed, so
that nothing is published inside of a transaction or before its commit (promise 4). Lost messages are sent again from
the store (promise 2), so an unavailable broker is not an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from kubeprobe.queue import MAX_RESPONDS, Queue, RunRef, run_batches


@dataclass(frozen=True)
class Effects:
    """The messages to send; by default none."""

    launch: Sequence[RunRef] = ()
    """Pending runs for launchers."""
    remove: Sequence[RunRef] = ()
    """Runs that were closed before their pods ended; a launcher removes the pods."""
    responders: int = 0
    """How many responders to wake, each for a batch of pending outcomes."""
    deliver: Sequence[tuple[str, str]] = ()
    """Targets (route, target) that messages wait for."""
    sync_sources: bool = False
    """Whether sources are due."""

    def __add__(self, other: Self) -> "Effects":
        """The effects of two transactions. One responder is enough for both, if neither needs more."""
        return Effects(
            launch=(*self.launch, *other.launch),
            remove=(*self.remove, *other.remove),
            responders=max(self.responders, other.responders),
            deliver=(*self.deliver, *other.deliver),
            sync_sources=self.sync_sources or other.sync_sources,
        )


def dispatch(queue: Queue, effects: Effects, batch_size: int) -> bool:
    """Send the effects of committed transactions; `batch_size`: runs of one cluster in one message.

    False if the broker is unavailable: beat and housekeeping then send them from the store, within seconds.
    """
    sent = [queue.wake_responder() for _ in range(min(effects.responders, MAX_RESPONDS))]
    sent.append(queue.wake_launchers(run_batches(effects.launch, batch_size)))
    sent += [queue.remove_pods(one.pool, one.cluster, one.run_ids) for one in run_batches(effects.remove, batch_size)]
    sent.append(queue.deliver(effects.deliver))
    if effects.sync_sources:
        sent.append(queue.sync_sources())
    return all(sent)
