"""Effects of transactions, and how they are sent."""

from collections.abc import Sequence

from celery import Celery

from kubeprobe.effects import Effects, dispatch
from kubeprobe.queue import MAX_RESPONDS, Message, Queue, Task
from kubeprobe.runs import OpenedRun
from kubeprobe.vocabulary import Subject


class Sent(Queue):
    """Records messages, with task and queue, instead of publishing them."""

    def __init__(self, *, is_reached: bool = True) -> None:
        super().__init__(Celery(set_as_current=False))
        self.messages: list[tuple[Task, list[object], str]] = []
        self.is_reached = is_reached

    def _send(self, messages: Sequence[Message]) -> bool:
        self.messages += [(message.task, message.args, message.queue) for message in messages]
        return self.is_reached or not messages


def run(number: int, cluster: str = "prod-1") -> OpenedRun:
    return OpenedRun(f"r{number}", f"slot-{number}", Subject(cluster), "eu", "pod-lifecycle")


def test_each_effect_is_sent_once() -> None:
    queue = Sent()
    effects = Effects(
        launch=[run(1), run(2), run(3), run(4, "prod-2")],
        remove=[run(5)],
        responders=2,
        deliver=[("team", "chat"), ("team", "mail")],
        sync_sources=True,
    )
    assert dispatch(queue, effects, batch_size=2)
    assert queue.messages == [
        (Task.RESPOND, [], "response"),
        (Task.RESPOND, [], "response"),
        (Task.LAUNCH, ["prod-1", ["r1", "r2"]], "launch.eu"),
        (Task.LAUNCH, ["prod-1", ["r3"]], "launch.eu"),
        (Task.LAUNCH, ["prod-2", ["r4"]], "launch.eu"),
        (Task.REMOVE_PODS, ["prod-1", ["r5"]], "launch.eu"),
        (Task.DELIVER, ["team", "chat"], "delivery"),
        (Task.DELIVER, ["team", "mail"], "delivery"),
        (Task.SYNC_SOURCES, [], "housekeeping"),
    ]


def test_a_long_backlog_wakes_no_more_responders_than_their_queue_takes() -> None:
    queue = Sent()
    dispatch(queue, Effects(responders=20_000), batch_size=2)
    assert len(queue.messages) == MAX_RESPONDS


def test_empty_effects_send_nothing() -> None:
    queue = Sent(is_reached=False)
    assert dispatch(queue, Effects(), batch_size=2)
    assert queue.messages == []


def test_an_unreachable_broker_is_reported() -> None:
    assert not dispatch(Sent(is_reached=False), Effects(responders=1), batch_size=2)


def test_effects_of_two_transactions_are_merged() -> None:
    both = Effects(launch=[run(1)], responders=1) + Effects(launch=[run(2)], responders=1, deliver=[("team", "chat")])
    assert both == Effects(launch=(run(1), run(2)), responders=1, deliver=(("team", "chat"),))
