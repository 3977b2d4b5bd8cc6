"""Fixtures: rooms on a local cluster, as the execution tests have them."""

from tests.local.execution.conftest import local, make_rooms, rooms, sqlite

__all__ = ["local", "make_rooms", "rooms", "sqlite"]
