"""Gives every test its tier, leaves out what takes minutes, and starts first what takes longest."""

import pytest

from tests.harness.tier import TIER, TIERS, tier_of

pytest_plugins = ["tests.harness.scheduler"]
LAST = ("image_pull", "volume_lifecycle", "federation_link", "virtual_cluster")
"""Probes whose real tests need programs that the test bed builds last: on a fresh machine they are not there before."""

LONG = "tests/real/"
"""Of the real tests these take longest."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tests that take minutes are left out unless they are asked for."""
    parser.addoption("--soak", action="store_true", help="run the tests that take minutes (`make soak`), and no others")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose soak tests or the others, mark each with its tier, and put those of higher tiers first.

    Those take longest: begun last, one of them would be waited for.
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


def is_soak(item: pytest.Item) -> bool:
    """Whether a test takes minutes."""
    return item.get_closest_marker("soak") is not None
