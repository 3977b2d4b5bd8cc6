"""Faults that several probes must detect: whole components of the control plane and the node."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a cycle: `scenario` imports the scenarios, which import this
    from tests.probes.scenario import Bed, State

_MOMENT = 0.005  # seconds: enough for one or two requests, not for a whole probe


def without_component(name: str) -> "State":
    """A state in which a component of the test bed is stopped."""

    @contextmanager
    def stopped(bed: "Bed") -> Iterator[None]:
        bed.testbed.stop(name)
        try:
            yield
        finally:
            bed.testbed.start(name)

    return stopped


def with_frozen_component(name: str) -> "State":
    """A state in which a component is suspended: it keeps its connections and answers nothing."""

    @contextmanager
    def frozen(bed: "Bed") -> Iterator[None]:
        bed.testbed.pause(name)
        try:
            yield
        finally:
            bed.testbed.resume(name)

    return frozen


def with_slow_component(name: str, seconds: float) -> "State":
    """A state in which a component is suspended for `seconds` at a time, with short moments of work in between."""

    @contextmanager
    def slowed(bed: "Bed") -> Iterator[None]:
        stopping = threading.Event()

        def slow_down() -> None:
            os.setpriority(os.PRIO_PROCESS, 0, -20)  # of this thread, so that the moments stay short on a busy machine
            while not stopping.is_set():
                bed.testbed.pause(name)
                stopping.wait(seconds)
                bed.testbed.resume(name)
                stopping.wait(_MOMENT)

        thread = threading.Thread(target=slow_down, name=f"{name} slowed")
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(60)

    return slowed


@contextmanager
def nothing_broken(_bed: "Bed") -> Iterator[None]:
    """For faults in the parameters only, such as a missing image."""
    yield
