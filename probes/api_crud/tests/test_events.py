import pytest

from probes.api_crud.events import WatchEvent, out_of_order
from probes.api_crud.readiness import failed_checks


def events(*texts: str) -> list[WatchEvent]:
    """Events from texts such as `ADDED created`."""
    return [WatchEvent(kind, {"value": value}, 0.0) for kind, value in (one.split() for one in texts)]


def test_the_events_of_a_lifecycle_in_order_are_accepted() -> None:
    received = events("ADDED created", "MODIFIED updated", "DELETED updated")
    assert out_of_order(received, ["created", "updated"]) == ""


def test_other_clients_may_change_the_object() -> None:
    received = events("ADDED created", "MODIFIED created", "MODIFIED updated", "MODIFIED updated", "DELETED updated")
    assert out_of_order(received, ["created", "updated"]) == ""


@pytest.mark.parametrize(
    "texts",
    [
        ("MODIFIED updated", "ADDED created", "DELETED updated"),
        ("ADDED created", "DELETED updated", "MODIFIED updated"),
        ("ADDED created", "ADDED created", "DELETED updated"),
    ],
)
def test_a_wrong_order_of_types_is_reported(texts: tuple[str, ...]) -> None:
    problem = out_of_order(events(*texts), ["created", "updated"])
    assert problem.startswith(
        f"events arrived in the order {', '.join(one.split()[0] for one in texts)}: expected ADDED first"
    )


def test_an_event_out_of_order_is_reported() -> None:
    received = events("ADDED updated", "MODIFIED created", "DELETED created")
    assert out_of_order(received, ["created", "updated"]) == (
        "the events have the values updated, created: expected created, updated, in this order"
    )


def test_the_failed_checks_of_readyz_are_named() -> None:
    answer = "500 : [+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\n[-]etcd-readiness failed: reason withheld\n"
    assert failed_checks(answer) == ["etcd", "etcd-readiness"]
