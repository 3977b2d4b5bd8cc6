"""Objects other than pods: namespaces, service accounts, quotas, secrets, custom resources, owners."""

import base64
from uuid import uuid4

from tests.contract.contract_api import STRATEGIC, Api, is_status, new_kind, pod, pods

NOWHERE = {"nobody": "has"}
DEAF = "trap '' TERM; while :; do sleep 0.1; done"


def maps(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps{'/' if name else ''}{name}"


async def test_a_namespace_comes_with_a_service_account(api: Api, namespace: str) -> None:
    found = await api.get(f"/api/v1/namespaces/{namespace}")
    assert found["status"] == {"phase": "Active"}
    assert found["spec"] == {"finalizers": ["kubernetes"]}
    assert found["metadata"]["labels"] == {"kubernetes.io/metadata.name": namespace}
    account = await api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
    assert account["kind"] == "ServiceAccount"


async def test_nothing_is_created_in_a_missing_namespace(api: Api, namespace: str) -> None:
    refused = is_status(await api.post(pods("no-such"), pod("x"), expect=404), 404, "NotFound")
    assert refused["message"] == 'namespaces "no-such" not found'
    assert refused["details"] == {"name": "no-such", "kind": "namespaces"}


async def test_a_namespace_is_deleted_with_its_content(api: Api) -> None:
    name = f"contract-{uuid4().hex[:8]}"
    path = f"/api/v1/namespaces/{name}"
    await api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    await api.until(f"{path}/serviceaccounts", {"metadata.name": "default"}, lambda _: True)
    await api.post(maps(name), {"metadata": {"name": "m", "finalizers": ["example.com/hold"]}})
    await api.post(pods(name), pod("p", DEAF, terminationGracePeriodSeconds=1))
    await api.running(name, "p")
    deleted = await api.delete(path)
    assert deleted["kind"] == "Namespace"
    assert deleted["status"]["phase"] == "Terminating"
    refused = is_status(await api.post(pods(name), pod("late"), expect=403), 403, "Forbidden")
    assert refused["message"] == (
        f'pods "late" is forbidden: unable to create new content in namespace {name} because it is being terminated'
    )
    assert refused["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": f"namespace {name} is being terminated",
            "field": "metadata.namespace",
        }
    ]
    await api.patch(maps(name, "m"), {"metadata": {"finalizers": None}})
    await api.gone(path)
    is_status(await api.get(pods(name, "p"), expect=404), 404, "NotFound")


async def test_a_pod_needs_its_service_account(api: Api, namespace: str) -> None:
    refused = is_status(
        await api.post(pods(namespace), pod("x", serviceAccountName="nobody"), expect=403), 403, "Forbidden"
    )
    assert refused["message"] == (
        f'pods "x" is forbidden: error looking up service account {namespace}/nobody: serviceaccount "nobody" not found'
    )


async def test_a_quota_on_pods_is_enforced(api: Api, namespace: str) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    await api.post(quotas, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}})
    await api.until(quotas, {"metadata.name": "few"}, lambda quota: "pods" in quota["status"].get("used", {}))
    await api.post(pods(namespace), pod("one", nodeSelector=NOWHERE))
    refused = is_status(await api.post(pods(namespace), pod("two"), expect=403), 403, "Forbidden")
    assert refused["message"] == (
        'pods "two" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1'
    )
    await api.delete(pods(namespace, "one"), gracePeriodSeconds="0")
    await api.until(quotas, {"metadata.name": "few"}, lambda quota: quota["status"]["used"]["pods"] == "0")
    await api.post(pods(namespace), pod("two", nodeSelector=NOWHERE))


async def test_secrets_are_stored_encoded(api: Api, namespace: str) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    created = await api.post(secrets, {"metadata": {"name": "s"}, "stringData": {"k": "hush"}})
    assert created["type"] == "Opaque"
    assert created["data"] == {"k": base64.b64encode(b"hush").decode()}
    assert "stringData" not in created
    deleted = await api.delete(f"{secrets}/s")
    assert (deleted["kind"], deleted["status"]) == ("Status", "Success")
    assert deleted["details"] == {"name": "s", "kind": "secrets", "uid": created["metadata"]["uid"]}


async def test_an_update_without_a_change_keeps_the_version(api: Api, namespace: str) -> None:
    created = await api.post(maps(namespace), {"metadata": {"name": "m"}, "data": {"a": "1"}})
    same = await api.put(maps(namespace, "m"), {"metadata": {"name": "m"}, "data": {"a": "1"}})
    assert same["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    other = await api.put(maps(namespace, "m"), {"metadata": {"name": "m"}, "data": {"a": "2"}})
    assert other["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]
    assert other["metadata"]["uid"] == created["metadata"]["uid"]


async def test_an_update_under_another_name_is_refused(api: Api, namespace: str) -> None:
    await api.post(maps(namespace), {"metadata": {"name": "m"}})
    answer = await api.put(maps(namespace, "m"), {"metadata": {"name": "n"}}, expect=400)
    reply = is_status(answer, 400, "BadRequest")["message"]
    assert reply == "the name of the object (n) does not match the name on the URL (m)"


async def test_a_lease_belongs_to_its_group(api: Api, namespace: str) -> None:
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    created = await api.post(leases, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}})
    assert (created["apiVersion"], created["kind"]) == ("coordination.k8s.io/v1", "Lease")
    refused = is_status(await api.get(f"{leases}/none", expect=404), 404, "NotFound")
    assert refused["message"] == 'leases.coordination.k8s.io "none" not found'
    assert refused["details"] == {"name": "none", "group": "coordination.k8s.io", "kind": "leases"}


async def test_a_custom_resource_of_a_new_kind(api: Api, namespace: str) -> None:
    async with new_kind(api) as group:
        widgets = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
        body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
        created = await api.post(widgets, {**body, "status": {"phase": "ignored"}})
        assert "status" not in created
        assert created["metadata"]["generation"] == 1
        changed = await api.patch(f"{widgets}/w", {"spec": {"size": 2}})
        assert changed["metadata"]["generation"] == 2
        reply = await api.patch(f"{widgets}/w/status", {"status": {"phase": "Fine"}, "spec": {"size": 3}})
        assert (reply["status"], reply["spec"]) == ({"phase": "Fine"}, {"size": 2})
        assert reply["metadata"]["generation"] == 2
        listed = await api.get(f"/apis/{group}/v1/widgets")
        assert (listed["kind"], len(listed["items"])) == ("WidgetList", 1)
        answer = await api.patch(f"{widgets}/w", {"spec": {"size": 4}}, STRATEGIC, expect=415)
        is_status(answer, 415, "UnsupportedMediaType")
        deleted = await api.delete(f"{widgets}/w")
        assert (deleted["kind"], deleted["status"]) == ("Status", "Success")


async def test_a_definitions_name_must_be_plural_dot_group(api: Api) -> None:
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    wrong = {"metadata": {"name": "gadgets.example.com"}, "spec": spec}
    refused = is_status(await api.post(definitions, wrong, expect=422), 422, "Invalid")
    assert "metadata.name" in {cause["field"] for cause in refused["details"]["causes"]}
    del spec["names"]
    is_status(await api.post(definitions, wrong, expect=422), 422, "Invalid")


async def test_dependents_are_deleted_with_their_owner(api: Api, namespace: str) -> None:
    owner = await api.post(maps(namespace), {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    await api.post(maps(namespace), {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    await api.delete(maps(namespace, "owner"), {"propagationPolicy": "Background"})
    await api.gone(maps(namespace, "owned"))


async def test_an_orphan_stays(api: Api, namespace: str) -> None:
    owner = await api.post(maps(namespace), {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    await api.post(maps(namespace), {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    await api.delete(maps(namespace, "owner"), {"propagationPolicy": "Orphan"})
    await api.gone(maps(namespace, "owner"))
    assert "ownerReferences" not in (await api.get(maps(namespace, "owned")))["metadata"]


async def test_foreground_deletion_removes_the_owner_last(api: Api, namespace: str) -> None:
    owner = await api.post(maps(namespace), {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    reference["blockOwnerDeletion"] = True
    await api.post(maps(namespace), {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    await api.delete(maps(namespace, "owner"), {"propagationPolicy": "Foreground"})
    await api.gone(maps(namespace, "owner"))
    await api.get(maps(namespace, "owned"), expect=404)


async def test_an_object_of_an_unknown_owner_is_collected(api: Api, namespace: str) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": str(uuid4())}
    await api.post(maps(namespace), {"metadata": {"name": "lost", "ownerReferences": [reference]}})
    await api.gone(maps(namespace, "lost"))


async def test_access_is_reviewed(api: Api) -> None:
    body = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}}
    review = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert review["kind"] == "SelfSubjectAccessReview"
    assert review["status"]["allowed"] is True
    rules = await api.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in rules["status"]["resourceRules"]


async def test_roles_are_stored(api: Api, namespace: str) -> None:
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    created = await api.post(roles, {"metadata": {"name": "r"}, "rules": rules})
    assert created["rules"] == rules


async def test_nodes_are_listed_with_capacity(api: Api) -> None:
    (node,) = (await api.get("/api/v1/nodes"))["items"]
    assert node["status"]["allocatable"].keys() >= {"cpu", "memory", "pods"}
    ready = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
    assert ready["Ready"] == "True"
