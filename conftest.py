"""Marks every test with its tier, deselects tests that take minutes, and runs the longest tests first."""

import gc

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.tier import TIER, TIERS, tier_of

pytest_plugins = ["tests.harness.scheduler"]
LAST = ("image_pull", "volume_lifecycle", "federation_link", "virtual_cluster")
"""Probes whose real tests need programs that the test bed builds last, in this order."""

LONG = "tests/real/"
"""The folder of the longest real tests."""


gc.set_threshold(10_000)  # with Python's 700, a quarter of the processor time of the tests is garbage collection


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that selects the tests that take minutes."""
    parser.addoption("--soak", action="store_true", help="run only the tests that take minutes (`make soak`)")


def pytest_configure(config: pytest.Config) -> None:
    """Try the same examples of each property every time: a run then fails for its change. `make soak` tries others.

    None fails because the machine is slow.
    """
    settings.register_profile(
        "kubeprobe",
        derandomize=not config.getoption("soak"),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("kubeprobe")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select soak tests or the others, mark each with its tier, and run higher tiers first.

    They take longest: started last, one of them would prolong the whole run.
    """
    wanted = bool(config.getoption("soak"))
    config.hook.pytest_deselected(items=[item for item in items if is_soak(item) != wanted])
    items[:] = [item for item in items if is_soak(item) == wanted]
    order: dict[pytest.Item, tuple[int, int, bool]] = {}
    for item in items:
        tier = tier_of(item.path.relative_to(config.rootpath).as_posix(), {mark.name for mark in item.iter_markers()})
        if item.get_closest_marker(tier) is None:
            item.add_marker(tier)
        item.user_properties.append((TIER, tier))
        late = next((number for number, name in enumerate(LAST, 1) if tier == "real" and name in item.nodeid), 0)
        order[item] = (late, -TIERS.index(tier), not item.nodeid.startswith(LONG))
    items.sort(key=order.__getitem__)


def pytest_collection_finish() -> None:
    """Leave out of each collection of garbage what exists as long as this process: modules and tests."""
    gc.collect()
    gc.freeze()


def is_soak(item: pytest.Item) -> bool:
    """Whether a test takes minutes."""
    return item.get_closest_marker("soak") is not None
