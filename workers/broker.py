"""Two corrections of kombu 5.7: surviving the loss of the broker, and one clock for all workers.

Surviving the loss of the broker (failure mode 23): two places where kombu takes the whole worker down.

A worker that loses its connection still holds messages of it. Putting them back, and acknowledging those whose task
ends later, both go over the lost connection and raise an AttributeError that is not handled. Neither is needed: what
was pending is sent again from the store, and what is done twice is done once (promises 1 and 2).
"""

from typing import Any

from kombu.transport import redis

from kubeprobe.clock import Clock


class QoS(redis.QoS):  # type: ignore[misc]
    """Does nothing for messages whose connection is closed."""

    def ack(self, delivery_tag: str) -> None:
        if not self._is_cut_off():
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 -- kombu's signature
        if not self._is_cut_off():
            super().reject(delivery_tag, requeue=requeue)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        if not self._is_cut_off():
            super().restore_unacked_once(stderr)

    def _is_cut_off(self) -> bool:
        """Closed for good: kombu takes the transport from a channel, and the connection from a transport."""
        transport = self.channel.connection
        return transport is None or transport.client is None


def survive_broker_loss() -> None:
    """Have every channel of this process use it."""
    redis.Channel.QoS = QoS


def use_clock(clock: Clock) -> None:
    """Have kombu compare the times of unacknowledged messages by this clock.

    With its machine's, a worker that is ahead by more than the visibility time-out puts back what others work on.
    """
    redis.time = lambda: clock().timestamp()
