"""Fixtures of the tests of runs: a store with one cluster and one case."""

from tests.services.execution.conftest import cipher, clock, settings, world

__all__ = ["cipher", "clock", "settings", "world"]
