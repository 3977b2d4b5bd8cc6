"""Deliveries are counted by kind of target and result."""

from kubeprobe.catalog import CatalogCache
from kubeprobe.metrics import REGISTRY
from kubeprobe.response import respond
from kubeprobe.store import AlertRoute
from kubeprobe.vocabulary import Verdict
from tests.services.response.given import World, send
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
    due = respond(world.store, catalogs, world.at(1)).deliver
    assert len(due) == 4
    world.remove(AlertRoute, "old")
    for attempt in range(3):
        for route, target in due:
            send(world, catalogs, world.at(1 + 60 * attempt), target, route)
    world.outcome(Verdict.PASS, 200)
    respond(world.store, catalogs, world.at(200))
    for route, target in due:
        send(world, catalogs, world.at(200), target, route)
    grown = {key: value - before.get(key, 0) for key, value in counted().items()}
    assert {key: value for key, value in grown.items() if value} == {
        ("log", "sent"): 2,
        ("webhook", "sent"): 2,
        ("webhook", "retried"): 3,
        ("webhook", "dropped"): 2,  # the opening that never arrived, and so the closing
        ("removed", "failed"): 1,
        ("removed", "dropped"): 1,
    }
