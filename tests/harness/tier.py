"""Which tier a test belongs to: what it needs, and so how it is run and what its failure means."""

from collections.abc import Collection
from typing import Literal, get_args

Tier = Literal["unit", "services", "local", "real"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""By what they need: nothing, PostgreSQL and Valkey, the local cluster, a real Kubernetes. Each is a marker, too."""
TIER = "tier"
"""The property under which the report of a test says its tier."""


def tier_of(path: str, markers: Collection[str]) -> Tier:
    """The tier of a test, by its file's path in the repository (`tests/TIER/...`) and its markers: the higher one."""
    return next((tier for tier in reversed(TIERS) if tier in markers or path.startswith(f"tests/{tier}/")), "unit")
