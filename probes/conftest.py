"""Fixtures that the tests in the probes' folders share with `tests/probes`. Not part of the package."""

from tests.probes.fixtures import bed

__all__ = ["bed"]
