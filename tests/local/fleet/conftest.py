"""Fixtures: clients of clusters, as the unit tests have them."""

from tests.unit.fleet.conftest import cipher, clients

__all__ = ["cipher", "clients"]
