"""What the tests in the probes' own folders share with `tests/probes`. Not part of the package."""

from tests.probes.fixtures import bed

__all__ = ["bed"]
