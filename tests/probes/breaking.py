"""Faults that several probes have to find: whole components of the control plane and the node."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.probes.scenario import Bed, State


def without_component(name: str) -> State:
    """A state in which a component of the test bed is stopped."""

    @contextmanager
    def stopped(bed: Bed) -> Iterator[None]:
        bed.testbed.stop(name)
        try:
            yield
        finally:
            bed.testbed.start(name)

    return stopped


def with_frozen_component(name: str) -> State:
    """A state in which a component keeps its connections and answers nothing."""

    @contextmanager
    def frozen(bed: Bed) -> Iterator[None]:
        bed.testbed.pause(name)
        try:
            yield
        finally:
            bed.testbed.resume(name)

    return frozen


@contextmanager
def nothing_broken(_bed: Bed) -> Iterator[None]:
    """For faults that lie in the parameters alone, such as an image that there is not."""
    yield
