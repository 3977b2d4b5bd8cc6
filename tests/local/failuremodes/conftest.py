"""Fixtures: env on a local cluster, as the execution tests have them."""

from tests.local.execution.conftest import env, local, make_environment, sqlite

__all__ = ["env", "local", "make_environment", "sqlite"]
