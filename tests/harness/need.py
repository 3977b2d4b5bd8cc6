"""Handles missing requirements of a tier: a skip with the reason on a laptop, a failure in CI."""

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it if CI=true, where every tier must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this tier: {reason}")
    pytest.skip(reason)
