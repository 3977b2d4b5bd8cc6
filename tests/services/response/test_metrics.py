"""Deliveries are counted by kind of target and result."""

from kubeprobe.catalog import CatalogCache
from kubeprobe.metrics import REGISTRY
from kubeprobe.response import deliver, respond
from kubeprobe.response.deliver import MAX_ATTEMPTS
from kubeprobe.store import AlertRoute
from kubeprobe.vocabulary import Verdict
from tests.services.response.given import World
from tests.services.response.receiver import Receiver


def counted() -> dict[tuple[str, str], float]:
    return {
        (sample.labels["target"], sample.labels["result"]): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "kubeprobe_deliveries_total"
    }


def test_deliveries_by_target_and_result(world: World, catalogs: CatalogCache, receiver: Receiver) -> None:
    before = counted()
    world.route(
        "team",
        {"name": "log", "log": {}},
        {"name": "dead", "webhook": {"url": "http://127.0.0.1:1/"}},
        {"name": "hook", "webhook": {"url": receiver.url}},
    )
    world.route("old", {"name": "gone", "log": {}})
    world.outcome(Verdict.FAIL, 1)
    notifications = respond(world.store, catalogs, world.at(1)).deliver
    assert len(notifications) == 4
    world.remove(AlertRoute, "old")
    for attempt in range(MAX_ATTEMPTS + 1):
        for notification in notifications:
            deliver(world.store, catalogs, notification, world.at(1 + 60 * attempt))
    grown = {key: value - before.get(key, 0) for key, value in counted().items()}
    assert {key: value for key, value in grown.items() if value} == {
        ("log", "sent"): 1,
        ("webhook", "sent"): 1,
        ("webhook", "retried"): MAX_ATTEMPTS - 1,
        ("webhook", "failed"): 1,
        ("removed", "failed"): 1,
    }
