"""Watches and lists: versions, selectors, bookmarks, pages, and expired versions."""

import pytest

from tests.contract.contract_api import Api, is_status, new_kind, phase, pod, pods

NOWHERE = {"nobody": "has"}


def config(name: str, **labels: str) -> dict:
    return {"metadata": {"name": name, "labels": labels}, "data": {"key": name}}


def maps(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps{'/' if name else ''}{name}"


async def version_of(api: Api, path: str) -> str:
    listed = await api.get(path, limit="1")
    return str(listed["metadata"]["resourceVersion"])


async def test_a_watch_from_a_version_gets_later_changes(api: Api, namespace: str) -> None:
    version = await version_of(api, maps(namespace))
    await api.post(maps(namespace), config("one"))
    await api.patch(maps(namespace, "one"), {"data": {"key": "changed"}})
    await api.delete(maps(namespace, "one"))
    async with api.watch(maps(namespace), resourceVersion=version, fieldSelector="metadata.name=one") as events:
        seen = [await events.next(what) for what in ("creation", "change", "deletion")]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))
    assert versions[0] > int(version)


async def test_a_watch_without_a_version_starts_with_the_existing_objects(api: Api, namespace: str) -> None:
    await api.post(maps(namespace), config("there", mine="yes"))
    async with api.watch(maps(namespace), labelSelector="mine=yes") as events:
        event = await events.next("what is there")
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "there")


async def test_the_watch_of_a_pods_run_ends_with_exit_code_and_message_in_one_event(api: Api, namespace: str) -> None:
    version = await version_of(api, pods(namespace))
    await api.post(pods(namespace), pod("run", "echo '{\"ok\": false}' > /dev/termination-log; exit 1"))
    phases = []
    async with api.watch(pods(namespace), resourceVersion=version) as events:
        while "Failed" not in phases:
            event = await events.next("the pod's end")
            phases.append(phase(event["object"]))
    terminated = event["object"]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["message"].strip()) == (1, '{"ok": false}')
    assert phases[0] == "Pending"
    assert sorted(set(phases), key=phases.index) in (["Pending", "Running", "Failed"], ["Pending", "Failed"])


async def test_an_object_that_stops_matching_is_deleted_for_the_watcher(api: Api, namespace: str) -> None:
    version = await version_of(api, maps(namespace))
    async with api.watch(maps(namespace), resourceVersion=version, labelSelector="mine=yes") as events:
        await api.post(maps(namespace), config("moving"))
        await api.patch(maps(namespace, "moving"), {"metadata": {"labels": {"mine": "yes"}}})
        entered = await events.next("the object entering the selection")
        await api.patch(maps(namespace, "moving"), {"metadata": {"labels": {"mine": "no"}}})
        left = await events.next("the object leaving the selection")
    assert (entered["type"], left["type"]) == ("ADDED", "DELETED")


async def test_a_watch_with_bookmarks_gets_one_before_its_timeout(api: Api, namespace: str) -> None:
    version = await version_of(api, maps(namespace))
    query = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": "8"}
    async with api.watch(maps(namespace), **query) as events:
        created = await api.post(maps(namespace), config("one"))
        seen = [event async for event in events]
    bookmarks = [event["object"] for event in seen if event["type"] == "BOOKMARK"]
    assert bookmarks, [event["type"] for event in seen]
    assert bookmarks[-1]["kind"] == "ConfigMap"
    assert int(bookmarks[-1]["metadata"]["resourceVersion"]) >= int(created["metadata"]["resourceVersion"])


async def test_a_watch_ends_at_its_timeout(api: Api, namespace: str) -> None:
    version = await version_of(api, pods(namespace))
    async with api.watch(pods(namespace), resourceVersion=version, timeoutSeconds="1") as events:
        assert [event async for event in events] == []


async def test_a_version_that_is_too_old_is_an_error_event(api: Api, namespace: str) -> None:
    async with new_kind(api) as group:  # a new cluster may still have the whole history of other kinds
        path = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
        async with api.watch(path, resourceVersion="1") as events:
            assert events.answer.status == 200
            event = await events.next("the refusal")
            rest = [later async for later in events]
    assert event["type"] == "ERROR"
    refused = is_status(event["object"], 410, "Expired")
    assert refused["message"].startswith("too old resource version: 1 (")
    assert rest == []


async def test_a_version_that_is_not_a_number_is_refused(api: Api, namespace: str) -> None:
    answer = await api.get(maps(namespace), expect=500, watch="true", resourceVersion="abc")
    assert 'resourceVersion: Invalid value: "abc"' in answer["message"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("", ["a", "b", "c"]),
        ("tier=web", ["a"]),
        ("tier==web", ["a"]),
        ("tier!=web", ["b", "c"]),
        ("tier in (web, db)", ["a", "b"]),
        ("tier notin (web)", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
        ("tier in (web,db),wave=1", ["b"]),
    ],
)
async def test_labels_select(api: Api, namespace: str, selector: str, names: list[str]) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    for name, labels in (("a", {"tier": "web"}), ("b", {"tier": "db", "wave": "1"}), ("c", {"wave": "1"})):
        await api.post(secrets, {"metadata": {"name": name, "labels": labels}})
    listed = await api.get(secrets, labelSelector=selector)
    assert listed["kind"] == "SecretList"
    assert [item["metadata"]["name"] for item in listed["items"]] == names


async def test_an_invalid_label_selector_is_refused(api: Api, namespace: str) -> None:
    is_status(await api.get(pods(namespace), expect=400, labelSelector="a in b in c"), 400, "BadRequest")
    answer = await api.get(pods(namespace), expect=400, fieldSelector="spec.colour=blue")
    assert "field label not supported" in is_status(answer, 400, "BadRequest")["message"]


async def test_fields_select(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("waits", nodeSelector=NOWHERE))
    await api.post(pods(namespace), pod("runs"))
    ended = await api.ended(namespace, "runs")
    node = ended["spec"]["nodeName"]
    for selector, names in (
        ("status.phase=Pending", ["waits"]),
        ("status.phase!=Pending", ["runs"]),
        (f"spec.nodeName={node}", ["runs"]),
        ("spec.nodeName=", ["waits"]),
        ("metadata.name=waits", ["waits"]),
        (f"metadata.namespace={namespace}", ["runs", "waits"]),
    ):
        listed = await api.get(pods(namespace), fieldSelector=selector)
        assert [item["metadata"]["name"] for item in listed["items"]] == names, selector


async def test_a_list_comes_in_pages(api: Api, namespace: str) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    for number in range(5):
        await api.post(secrets, {"metadata": {"name": f"s{number}"}})
    first = await api.get(secrets, limit="2")
    assert first["metadata"]["remainingItemCount"] == 3
    second = await api.get(secrets, **{"limit": "2", "continue": first["metadata"]["continue"]})
    third = await api.get(secrets, **{"limit": "2", "continue": second["metadata"]["continue"]})
    assert not third["metadata"].get("continue")
    names = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert names == [f"s{number}" for number in range(5)]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_watch_continues_a_list_over_all_namespaces(api: Api, namespace: str) -> None:
    listed = await api.get("/api/v1/pods", labelSelector=f"of={namespace}")
    assert listed["items"] == []
    query = {"resourceVersion": listed["metadata"]["resourceVersion"], "labelSelector": f"of={namespace}"}
    async with api.watch("/api/v1/pods", **query) as events:
        body = pod("mine", nodeSelector=NOWHERE)
        body["metadata"]["labels"]["of"] = namespace
        await api.post(pods(namespace), body)
        event = await events.next("the pod in another path's watch")
    assert event["object"]["metadata"]["namespace"] == namespace


async def test_a_list_at_a_future_version_is_refused(api: Api, namespace: str) -> None:
    answer = await api.get(maps(namespace), expect=504, resourceVersion="999999999999999999")
    assert "Too large resource version" in is_status(answer, 504, "Timeout")["message"]
