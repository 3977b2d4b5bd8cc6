"""The tier of a test: what it needs, which decides how it is run and whether it is run again."""

from collections.abc import Collection
from typing import Literal, get_args

Tier = Literal["unit", "services", "local", "real"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""Requirements: none; PostgreSQL and Valkey; the local cluster; a real Kubernetes. Each is also a marker."""
TIER = "tier"
"""The property of a test report that has its tier."""


def tier_of(path: str, markers: Collection[str]) -> Tier:
    """The tier of a test, by its file's path in the repository (`tests/TIER/...`) and its markers: the higher one."""
    return next((tier for tier in reversed(TIERS) if tier in markers or path.startswith(f"tests/{tier}/")), "unit")
