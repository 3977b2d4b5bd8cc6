"""Pods: defaults, validation, updates and deletion."""

import pytest

from tests.contract.contract_api import (
    BUSYBOX,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Api,
    conditions,
    is_status,
    phase,
    pod,
    pods,
    state,
)

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


async def test_a_new_pod_gets_defaults(api: Api, namespace: str) -> None:
    body = {
        "metadata": {"name": "plain"},
        "spec": {"nodeSelector": {"nobody": "has"}, "containers": [{"name": "probe", "image": BUSYBOX}]},
    }
    created = await api.post(pods(namespace), body)
    spec, container = created["spec"], created["spec"]["containers"][0]
    assert created["kind"] == "Pod"
    assert created["metadata"].keys() >= {"uid", "creationTimestamp", "resourceVersion", "namespace"}
    assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert spec["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert (spec["dnsPolicy"], spec["schedulerName"]) == ("ClusterFirst", "default-scheduler")
    assert spec["enableServiceLinks"] is True
    assert {t["key"] for t in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "File"


async def test_limits_become_requests_and_decide_the_quality_of_service(api: Api, namespace: str) -> None:
    limits = {"cpu": "10m", "memory": "16Mi"}
    created = await api.post(pods(namespace), pod("limited", container={"resources": {"limits": limits}}))
    assert created["spec"]["containers"][0]["resources"]["requests"] == limits
    assert created["status"]["qosClass"] == "Guaranteed"


async def test_generate_name_makes_a_name(api: Api, namespace: str) -> None:
    body = pod("ignored")
    body["metadata"] = {"generateName": "probe-"}
    names = {(await api.post(pods(namespace), body, dryRun="All"))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("probe-") and len(name) == len("probe-") + 5 for name in names)


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"containers": []}, "spec.containers", "FieldValueRequired"),
        ({"containers": [{"name": "a"}]}, "spec.containers[0].image", "FieldValueRequired"),
        ({"containers": [{"image": "x"}]}, "spec.containers[0].name", "FieldValueRequired"),
        ({"containers": [{"name": "A_b", "image": "x"}]}, "spec.containers[0].name", "FieldValueInvalid"),
        (
            {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]},
            "spec.containers[1].name",
            "FieldValueDuplicate",
        ),
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy", "FieldValueNotSupported"),
        ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds", "FieldValueInvalid"),
    ],
)
async def test_an_invalid_pod_is_refused_with_the_field(
    api: Api, namespace: str, change: dict, field: str, reason: str
) -> None:
    body = pod("wrong")
    body["spec"].update(change)
    refused = is_status(await api.post(pods(namespace), body, expect=422), 422, "Invalid")
    assert refused["message"].startswith('Pod "wrong" is invalid: ')
    assert (refused["details"]["name"], refused["details"]["kind"]) == ("wrong", "Pod")
    causes = {(cause["field"], cause["reason"]) for cause in refused["details"]["causes"]}
    assert (field, reason) in causes, causes


async def test_an_invalid_name_is_refused(api: Api, namespace: str) -> None:
    refused = is_status(await api.post(pods(namespace), pod("Not_A_Name"), expect=422), 422, "Invalid")
    assert refused["details"]["causes"][0]["field"] == "metadata.name"
    assert "a lowercase RFC 1123 subdomain must consist of" in refused["message"]


async def test_a_pod_without_any_name_is_refused(api: Api, namespace: str) -> None:
    body = pod("x")
    del body["metadata"]["name"]
    refused = is_status(await api.post(pods(namespace), body, expect=422), 422, "Invalid")
    assert "metadata.name: Required value: name or generateName is required" in refused["message"]


async def test_invalid_labels_are_refused(api: Api, namespace: str) -> None:
    body = pod("labels")
    body["metadata"]["labels"] = {"ok": "not a value", "not a key": "x"}
    refused = is_status(await api.post(pods(namespace), body, expect=422), 422, "Invalid")
    assert {cause["field"] for cause in refused["details"]["causes"]} == {"metadata.labels"}
    assert len(refused["details"]["causes"]) == 2


async def test_a_request_above_its_limit_is_refused(api: Api, namespace: str) -> None:
    resources = {"limits": {"memory": "16Mi"}, "requests": {"memory": "32Mi"}}
    answer = await api.post(pods(namespace), pod("greedy", container={"resources": resources}), expect=422)
    refused = is_status(answer, 422, "Invalid")
    assert "must be less than or equal to memory limit of 16Mi" in refused["message"]


async def test_a_taken_name_is_a_conflict(api: Api, namespace: str) -> None:
    body = pod("twice", FOREVER)
    await api.post(pods(namespace), body)
    refused = is_status(await api.post(pods(namespace), body, expect=409), 409, "AlreadyExists")
    assert refused["message"] == 'pods "twice" already exists'
    assert refused["details"] == {"name": "twice", "kind": "pods"}


async def test_a_missing_pod_is_not_found(api: Api, namespace: str) -> None:
    refused = is_status(await api.get(pods(namespace, "nobody"), expect=404), 404, "NotFound")
    assert refused["message"] == 'pods "nobody" not found'
    assert refused["details"] == {"name": "nobody", "kind": "pods"}


async def test_a_namespace_in_the_body_must_be_the_one_of_the_path(api: Api, namespace: str) -> None:
    body = pod("elsewhere")
    body["metadata"]["namespace"] = "default"
    refused = is_status(await api.post(pods(namespace), body, expect=400), 400, "BadRequest")
    assert "namespace of the provided object does not match" in refused["message"]


async def test_a_dry_run_creates_nothing(api: Api, namespace: str) -> None:
    created = await api.post(pods(namespace), pod("dry"), dryRun="All")
    assert created["metadata"]["uid"]
    assert "resourceVersion" not in created["metadata"]
    await api.get(pods(namespace, "dry"), expect=404)


async def test_a_dry_run_validates(api: Api, namespace: str) -> None:
    body = pod("dry")
    body["spec"]["containers"] = []
    is_status(await api.post(pods(namespace), body, expect=422, dryRun="All"), 422, "Invalid")


async def test_the_image_and_the_labels_may_change_and_the_command_may_not(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("fixed", FOREVER))
    changed = await api.patch(pods(namespace, "fixed"), {"metadata": {"labels": {"new": "label"}}})
    assert changed["metadata"]["labels"] == {"app": "fixed", "new": "label"}
    command = {"spec": {"containers": [{"name": "probe", "command": ["other"]}]}}
    refused = is_status(await api.patch(pods(namespace, "fixed"), command, STRATEGIC, expect=422), 422, "Invalid")
    assert refused["details"]["causes"][0]["field"] == "spec"
    assert "pod updates may not change fields other than" in refused["message"]


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        (MERGE, {"metadata": {"annotations": {"a": "1", "gone": None}}}),
        (STRATEGIC, {"metadata": {"annotations": {"a": "1", "gone": None}}}),
        (
            JSON_PATCH,
            [
                {"op": "test", "path": "/metadata/annotations/gone", "value": "x"},
                {"op": "add", "path": "/metadata/annotations/a", "value": "1"},
                {"op": "remove", "path": "/metadata/annotations/gone"},
            ],
        ),
    ],
)
async def test_metadata_is_patched_in_three_ways(api: Api, namespace: str, content_type: str, patch: object) -> None:
    body = pod("patched", FOREVER)
    body["metadata"]["annotations"] = {"gone": "x", "kept": "y"}
    created = await api.post(pods(namespace), body)
    patched = await api.patch(pods(namespace, "patched"), patch, content_type)
    assert patched["metadata"]["annotations"] == {"a": "1", "kept": "y"}
    assert patched["metadata"]["uid"] == created["metadata"]["uid"]
    assert patched["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]


async def test_an_update_from_an_old_state_is_a_conflict(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("stale", FOREVER))
    old = await api.running(namespace, "stale")
    await api.patch(pods(namespace, "stale"), {"metadata": {"labels": {"n": "1"}}})
    refused = is_status(await api.put(pods(namespace, "stale"), old, expect=409), 409, "Conflict")
    assert refused["message"].startswith('Operation cannot be fulfilled on pods "stale": the object has been')


async def test_the_status_is_written_through_its_subresource_only(api: Api, namespace: str) -> None:
    body = pod("status", FOREVER, nodeSelector={"nobody": "has"})
    body["status"] = {"phase": "Running"}
    assert (await api.post(pods(namespace), body))["status"]["phase"] == "Pending"
    # Wait for the scheduler: its write between GET and PUT would cause a conflict.
    await api.until(pods(namespace), {"metadata.name": "status"}, lambda seen: "PodScheduled" in conditions(seen))
    condition = {"type": "example.com/gate", "status": "True"}
    patch = {"status": {"conditions": [condition], "message": "1"}}
    patched = await api.patch(pods(namespace, "status", "status"), patch, STRATEGIC)
    assert patched["status"]["message"] == "1"
    assert conditions(patched)["example.com/gate"]["status"] == "True"
    put = await api.put(
        pods(namespace, "status", "status"), {**patched, "status": {**patched["status"], "message": "2"}}
    )
    assert put["status"]["message"] == "2"
    ignored = await api.patch(pods(namespace, "status"), {"status": {"message": "ignored"}})
    assert ignored["status"]["message"] == "2"
    await api.delete(pods(namespace, "status"), gracePeriodSeconds="0")


async def test_only_the_pod_with_the_uid_is_deleted(api: Api, namespace: str) -> None:
    created = await api.post(pods(namespace), pod("this", nodeSelector={"nobody": "has"}))
    other = {"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}}
    refused = is_status(await api.delete(pods(namespace, "this"), other, expect=409), 409, "Conflict")
    assert "UID in the precondition" in refused["message"]
    deleted = await api.delete(pods(namespace, "this"), {"preconditions": {"uid": created["metadata"]["uid"]}})
    assert deleted["kind"] == "Pod"
    await api.get(pods(namespace, "this"), expect=404)


async def test_a_running_pod_gets_sigterm_and_is_deleted(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("asked", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"))
    await api.first_line(namespace, "asked", "ready\n")
    seen = await api.running(namespace, "asked")
    version = seen["metadata"]["resourceVersion"]
    selector = {"fieldSelector": "metadata.name=asked", "resourceVersion": version}
    async with api.watch(pods(namespace), **selector) as events:
        answer = await api.delete(pods(namespace, "asked"))
        assert answer["metadata"]["deletionGracePeriodSeconds"] == 5
        event = await events.next("the pod being marked as deleted")
        while "deletionTimestamp" not in event["object"]["metadata"]:  # the status of its start may still change
            event = await events.next("the pod being marked as deleted")
        last = event
        assert event["type"] == "MODIFIED"
        while event["type"] != "DELETED":
            last, event = event, await events.next("the pod being gone")
    assert state(last["object"])["terminated"]["exitCode"] == 7
    assert phase(event["object"]) == "Failed"


async def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace_period(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("deaf", "trap '' TERM; echo ready; while :; do sleep 0.1; done"))
    await api.first_line(namespace, "deaf", "ready\n")
    answer = await api.delete(pods(namespace, "deaf"), gracePeriodSeconds="1")
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 1
    marked = answer["metadata"]["resourceVersion"]
    dying = await api.pod_until(namespace, "deaf", lambda pod: "terminated" in state(pod), marked)
    assert state(dying)["terminated"]["exitCode"] == 137
    await api.gone(pods(namespace, "deaf"))


async def test_an_ended_pod_is_deleted_at_once(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("ended"))
    await api.ended(namespace, "ended")
    await api.delete(pods(namespace, "ended"))
    await api.get(pods(namespace, "ended"), expect=404)


async def test_a_deletion_is_a_modified_event_and_then_a_deleted_event(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("marked"))
    ended = await api.ended(namespace, "marked")
    query = {"resourceVersion": ended["metadata"]["resourceVersion"]}
    async with api.watch(pods(namespace), **query) as events:
        await api.delete(pods(namespace, "marked"))
        mark = await events.next("the mark")
        while "deletionTimestamp" not in mark["object"]["metadata"]:  # a node may still change the status
            mark = await events.next("the mark")
        end = await events.next("the end")
    assert (mark["type"], end["type"]) == ("MODIFIED", "DELETED")
    assert mark["object"]["metadata"]["deletionGracePeriodSeconds"] == 0
    assert "deletionTimestamp" in mark["object"]["metadata"]
    assert state(end["object"])["terminated"]["exitCode"] == 0


async def test_a_forced_deletion_is_immediate(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("forced", "trap '' TERM; while :; do sleep 0.1; done"))
    await api.running(namespace, "forced")
    await api.delete(pods(namespace, "forced"), gracePeriodSeconds="0")
    await api.get(pods(namespace, "forced"), expect=404)


async def test_a_collection_is_deleted_by_selector(api: Api, namespace: str) -> None:
    for name in ("one", "two", "three"):
        await api.post(pods(namespace), pod(name, nodeSelector={"nobody": "has"}))
    answer = await api.delete(pods(namespace), labelSelector="app in (one,two)")
    assert answer["kind"] == "PodList"
    assert [item["metadata"]["name"] for item in (await api.get(pods(namespace)))["items"]] == ["three"]


async def test_a_pod_with_a_finalizer_stays_until_it_is_removed(api: Api, namespace: str) -> None:
    body = pod("held", nodeSelector={"nobody": "has"})
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await api.post(pods(namespace), body)
    await api.delete(pods(namespace, "held"))
    assert "deletionTimestamp" in (await api.get(pods(namespace, "held")))["metadata"]
    await api.patch(pods(namespace, "held"), {"metadata": {"finalizers": None}})
    await api.get(pods(namespace, "held"), expect=404)
