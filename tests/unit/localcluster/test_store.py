import pytest

from kubeprobe.localcluster.errors import ApiError
from kubeprobe.localcluster.resources import CONFIG_MAPS, PODS
from kubeprobe.localcluster.store import Store


def named(name: str, namespace: str = "ns", **fields: object) -> dict:
    return {"metadata": {"name": name, "namespace": namespace}, **fields}


def test_versions_only_grow_over_all_kinds() -> None:
    store = Store()
    versions = [store.put(kind, named("x")).version for kind in (PODS, CONFIG_MAPS, PODS)]
    assert versions == sorted(set(versions))
    assert store.version == versions[-1]


def test_a_stored_object_is_not_the_one_given() -> None:
    store = Store()
    given = named("x")
    stored = store.put(PODS, given)
    assert "resourceVersion" not in given["metadata"]
    assert stored.object["metadata"]["resourceVersion"] == str(stored.version)


def test_items_come_in_the_order_of_their_keys() -> None:
    store = Store()
    for namespace, name in (("b", "a"), ("a", "z"), ("a", "b")):
        store.put(PODS, named(name, namespace))
    assert [(s.object["metadata"]["namespace"], s.object["metadata"]["name"]) for s in store.items(PODS)] == [
        ("a", "b"),
        ("a", "z"),
        ("b", "a"),
    ]
    assert len(store.items(PODS, "a")) == 2


def test_changes_since_a_version_are_returned() -> None:
    store = Store()
    first = store.put(PODS, named("x"))
    second = store.put(PODS, named("x", phase="new"))
    removed = store.remove(PODS, second.object)
    changes = store.changes_since(PODS, first.version)
    assert [(c.type, c.stored.version) for c in changes] == [
        ("MODIFIED", second.version),
        ("DELETED", removed.version),
    ]
    assert changes[0].previous is first
    assert store.get(PODS, "ns", "x") is None


def test_history_is_bounded_and_dropped_history_is_expired() -> None:
    store = Store(history=3)
    versions = [store.put(PODS, named(f"p{n}")).version for n in range(5)]
    assert len(store.changes_since(PODS, versions[1])) == 3
    with pytest.raises(ApiError) as refused:
        store.changes_since(PODS, versions[0])
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


def test_history_is_bounded_per_kind() -> None:
    store = Store(history=2)
    kept = store.put(CONFIG_MAPS, named("m")).version
    for number in range(5):
        store.put(PODS, named(f"p{number}"))
    assert store.changes_since(CONFIG_MAPS, kept) == []


def test_old_history_is_forgotten() -> None:
    store = Store(history_seconds=0)
    before = store.version
    store.put(PODS, named("x"))
    store.forget_old()
    with pytest.raises(ApiError):
        store.changes_since(PODS, before)
    assert store.changes_since(PODS, store.version) == []


def test_a_version_from_before_the_start_is_too_old() -> None:
    with pytest.raises(ApiError):
        Store().changes_since(PODS, 1)


def test_versions_of_a_later_store_are_higher() -> None:
    earlier = Store()
    for number in range(100):
        earlier.put(PODS, named(f"p{number}"))
    # A process takes far longer than this to start again.
    assert Store().version >= earlier.version - 100


async def test_a_subscriber_gets_changes_in_groups_until_it_is_closed() -> None:
    store = Store()
    subscription = store.subscribe(PODS)
    store.put(PODS, named("a"))
    store.put(PODS, named("b"))
    store.put(CONFIG_MAPS, named("other"))
    assert [c.stored.object["metadata"]["name"] for c in await subscription.take(1)] == ["a", "b"]
    assert await subscription.take(0) == []
    store.close()
    assert subscription.closed
    assert await subscription.take(1000) == []


async def test_a_slow_subscriber_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeprobe.localcluster.store._SLOW_WATCHER", 3)
    store = Store()
    subscription = store.subscribe(PODS)
    for number in range(5):
        store.put(PODS, named(f"p{number}"))
    assert subscription.closed


async def test_a_watch_of_a_closed_store_ends_at_once() -> None:
    store = Store()
    store.close()
    assert await store.subscribe(PODS).take(1000) == []
