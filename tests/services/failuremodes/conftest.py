"""Fixtures: a store with clusters, and a launcher in this process."""

from tests.services.execution.conftest import api, cipher, clock, launcher, settings, world

__all__ = ["api", "cipher", "clock", "launcher", "settings", "world"]
