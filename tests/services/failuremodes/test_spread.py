"""Failure mode 29: periodic runs of a large fleet are spread evenly over their interval."""

from collections import Counter
from datetime import timedelta

import pytest

from kubeprobe.catalog import Connector, apply, parse
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from kubeprobe.trigger import issue_due
from tests.services.catalog.conftest import NOW
from tests.services.trigger.given import World
from tests.unit.catalog.given import BINDING, CASE, TEMPLATE, catalog

CASES = [f"case-{number}" for number in range(10)]
CLUSTERS = [f"c{number:04}" for number in range(1000)]
EVERY = timedelta(minutes=5)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_ten_thousand_schedules_open_at_most_twice_the_mean_per_second(
    store: Store, settings: Settings, cipher: Cipher
) -> None:
    World(store, NOW).cluster(*CLUSTERS, region="eu")
    cases = [CASE.replace("pod-lifecycle", name) for name in CASES]
    binding = BINDING.replace("[pod-lifecycle]", f"[{', '.join(CASES)}]")
    folder = catalog(settings.data_dir / "catalog", TEMPLATE, *cases, binding)
    with store.writing() as session:
        apply(session, parse([folder]), Connector(cipher, settings.data_dir / "none"), NOW)
    opened: Counter[int] = Counter()
    for second in range(int(EVERY.total_seconds())):
        now = NOW + timedelta(seconds=second + 1)
        opened[second] = len(issue_due(store, now, settings).opened)
    mean = len(CASES) * len(CLUSTERS) / EVERY.total_seconds()
    assert opened.total() == len(CASES) * len(CLUSTERS)
    assert max(opened.values()) <= 2 * mean, opened.most_common(3)
