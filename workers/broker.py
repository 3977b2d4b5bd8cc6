"""Surviving the loss of the broker (failure mode 23): two places where kombu 5.7 takes the whole worker down.

A worker that loses its connection still holds messages of it. Putting them back, and acknowledging those whose task
ends later, both go over the lost connection and raise an AttributeError that is not handled. Neither is needed: what
was pending is sent again from the store, and what is done twice is done once (promises 1 and 2).
"""

from typing import Any

from kombu.transport import redis


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
