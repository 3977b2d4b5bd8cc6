"""Fixtures: a store with clusters, as the execution tests have it."""

from tests.services.execution.conftest import cipher, clock, world

__all__ = ["cipher", "clock", "world"]
