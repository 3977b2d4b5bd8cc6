"""The server: discovery, health, authentication, invalid requests, and the usual clients."""

import asyncio
import shutil
from pathlib import Path

import pytest
from kubernetes import config
from kubernetes.client import ApiClient, CoreV1Api

from tests.contract.contract_api import JSON_PATCH, MERGE, Api, is_status, pod, pods


async def test_version_and_health(api: Api) -> None:
    version = await api.get("/version")
    assert version["major"] == "1"
    assert version["gitVersion"].startswith("v1.")
    for path in ("/healthz", "/livez", "/readyz"):
        assert await api.get(path) == "ok"


async def test_kinds_are_discovered(api: Api) -> None:
    assert (await api.get("/api"))["versions"] == ["v1"]
    groups = {group["name"] for group in (await api.get("/apis"))["groups"]}
    assert groups >= {"coordination.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io"}
    resources = {entry["name"]: entry for entry in (await api.get("/api/v1"))["resources"]}
    assert resources["pods"]["kind"] == "Pod"
    assert resources["pods"]["namespaced"] is True
    assert resources.keys() >= {"pods/log", "pods/status", "namespaces", "secrets", "events"}
    group = await api.get("/apis/coordination.k8s.io")
    assert group["preferredVersion"]["groupVersion"] == "coordination.k8s.io/v1"


async def test_a_wrong_token_is_refused(api: Api) -> None:
    for path in ("/api/v1/pods", "/version"):
        async with api.anonymous.get(api.host + path, headers={"Authorization": "Bearer wrong"}) as answer:
            assert answer.status == 401
            assert is_status(await answer.json(), 401, "Unauthorized")["message"] == "Unauthorized"


async def test_an_anonymous_client_gets_the_version_and_no_pods(api: Api) -> None:
    async with api.anonymous.get(api.host + "/version") as answer:
        assert answer.status == 200
    async with api.anonymous.get(api.host + "/api/v1/pods") as answer:
        assert answer.status in (401, 403)  # 403 if the server accepts anonymous users


async def test_an_unknown_kind_is_not_found(api: Api) -> None:
    answer = await api.get("/api/v1/namespaces/default/unicorns", expect=404)
    error_text = is_status(answer, 404, "NotFound")["message"]
    assert error_text == "the server could not find the requested resource"


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/api/v1/pods"), ("POST", "/api/v1/pods"), ("PATCH", "/api/v1/namespaces")]
)
async def test_an_unsupported_verb_is_refused(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path, {}, expect=405)
    error_text = is_status(answer, 405, "MethodNotAllowed")["message"]
    assert error_text == "the server does not allow this method on the requested resource"


async def test_a_body_of_another_type_is_refused(api: Api, namespace: str) -> None:
    answer = await api.call("POST", pods(namespace), b"<pod/>", content_type="text/xml", expect=415)
    is_status(answer, 415, "UnsupportedMediaType")
    answer = await api.call("PATCH", pods(namespace, "x"), {}, content_type="text/plain", expect=415)
    is_status(answer, 415, "UnsupportedMediaType")


async def test_a_body_that_is_not_json_is_refused(api: Api, namespace: str) -> None:
    answer = await api.call("POST", pods(namespace), b"{nope", expect=400)
    is_status(answer, 400, "BadRequest")


async def test_a_body_of_another_kind_is_refused(api: Api, namespace: str) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
    is_status(await api.post(pods(namespace), body, expect=400), 400, "BadRequest")


async def test_a_version_on_creation_is_refused(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    answer = await api.call("POST", path, {"metadata": {"name": "x", "resourceVersion": "5"}})
    assert "resourceVersion should not be set on objects to be created" in answer["message"]


async def test_requests_are_counted_as_on_a_real_server(api: Api, namespace: str) -> None:
    await api.get(pods(namespace))
    text = await api.get("/metrics")
    lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
    assert any(
        'verb="LIST"' in line and 'resource="pods"' in line and 'code="200"' in line and 'scope="namespace"' in line
        for line in lines
    )
    labels = {part.split("=")[0] for part in lines[0].partition("{")[2].partition("}")[0].split(",")}
    assert labels >= {"verb", "resource", "code", "group", "version", "subresource", "scope", "dry_run"}


async def test_the_python_client_works(api: Api, namespace: str) -> None:
    def list_pods() -> int:
        with_config: ApiClient = config.new_client_from_config(str(api.kubeconfig))
        with with_config as client:
            return len(CoreV1Api(client).list_namespaced_pod(namespace).items)

    assert await asyncio.to_thread(list_pods) == 0


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
async def test_kubectl_works(api: Api, namespace: str) -> None:
    contexts = await kubectl(api, "config", "get-contexts", "-o", "name")
    context = "kubectl" if "kubectl" in contexts.split() else contexts.split()[0]
    command = ("--context", context, "-n", namespace)
    run = ("run", "by-kubectl", "--image=docker.io/kubeprobe/busybox:dev", "--restart=Never")
    assert "by-kubectl created" in await kubectl(api, *command, *run, "--command", "--", "sh", "-c", "echo hi")
    await api.ended(namespace, "by-kubectl")
    listed = await kubectl(api, *command, "get", "pods")
    assert listed.split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert "Completed" in listed
    assert await kubectl(api, *command, "logs", "by-kubectl") == "hi\n"
    assert "deleted" in await kubectl(api, *command, "delete", "pod", "by-kubectl")


async def kubectl(api: Api, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--kubeconfig={api.kubeconfig}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, failed = await process.communicate()
    assert process.returncode == 0, failed.decode()
    return output.decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"env": [{"name": "A", "value": 5}]},
            "cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            {"command": "sh"},
            "cannot unmarshal string into Go struct field Container.spec.containers.command of type []string",
        ),
        ({"resources": {"limits": {"cpu": "much"}}}, "quantities must match the regular expression"),
    ],
)
async def test_a_field_of_another_type_is_refused(api: Api, namespace: str, change: dict, message: str) -> None:
    answer = await api.post(pods(namespace), pod("typed", container=change), expect=400)
    error_text = is_status(answer, 400, "BadRequest")["message"]
    assert error_text.startswith('Pod in version "v1" cannot be handled as a Pod: ')
    assert message in error_text


async def test_strict_validation_refuses_unknown_fields(api: Api, namespace: str) -> None:
    body = pod("strict", container={"imagee": "x"})
    answer = await api.post(pods(namespace), body, expect=400, fieldValidation="Strict")
    assert 'strict decoding error: unknown field "spec.containers[0].imagee"' in answer["message"]
    await api.post(pods(namespace), body, dryRun="All")


async def test_a_secret_must_be_encoded(api: Api, namespace: str) -> None:
    body = {"metadata": {"name": "s"}, "data": {"k": "not base64!"}}
    answer = await api.post(f"/api/v1/namespaces/{namespace}/secrets", body, expect=400)
    assert "illegal base64 data at input byte 3" in is_status(answer, 400, "BadRequest")["message"]


async def test_options_that_do_not_exist_are_refused(api: Api, namespace: str) -> None:
    answer = await api.post(pods(namespace), pod("x"), expect=422, dryRun="Some")
    assert is_status(answer, 422, "Invalid")["details"]["kind"] == "CreateOptions"
    answer = await api.delete(pods(namespace, "x"), expect=422, propagationPolicy="Some")
    assert is_status(answer, 422, "Invalid")["details"]["kind"] == "DeleteOptions"
    answer = await api.get(pods(namespace), expect=400, limit="x")
    assert answer["code"] == 400


async def test_a_subresource_that_does_not_exist_is_not_found(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("x", nodeSelector={"nobody": "has"}))
    is_status(await api.get(pods(namespace, "x", "shape"), expect=404), 404, "NotFound")
    is_status(await api.get("/api/v1/pods/x", expect=404), 404, "NotFound")


async def test_a_uid_cannot_be_patched(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("x", nodeSelector={"nobody": "has"}))
    answer = await api.patch(pods(namespace, "x"), {"metadata": {"uid": "other"}}, expect=422)
    assert is_status(answer, 422, "Invalid")["details"]["causes"][0]["field"] == "metadata.uid"
    answer = await api.patch(pods(namespace, "x"), {"metadata": {"name": "other"}}, expect=400)
    assert "does not match the name on the URL" in is_status(answer, 400, "BadRequest")["message"]


async def test_an_unknown_patch_type_is_refused(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("x", nodeSelector={"nobody": "has"}))
    assert (await api.patch(pods(namespace, "x"), {"op": "add"}, JSON_PATCH, expect=400))["code"] == 400
    assert (await api.patch(pods(namespace, "x"), [], MERGE, expect=400))["code"] == 400


async def test_an_inapplicable_json_patch_is_refused(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("x", nodeSelector={"nobody": "has"}))
    for operation in (
        {"op": "test", "path": "/metadata/name", "value": "y"},
        {"op": "remove", "path": "/metadata/annotations/none"},
    ):
        answer = await api.patch(pods(namespace, "x"), [operation], JSON_PATCH, expect=422)
        is_status(answer, 422, "Invalid")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
async def test_kubectl_applies_files(api: Api, namespace: str, tmp_path: Path) -> None:
    contexts = await kubectl(api, "config", "get-contexts", "-o", "name")
    context = "kubectl" if "kubectl" in contexts.split() else contexts.split()[0]
    command = ("--context", context, "-n", namespace)
    file = tmp_path / "map.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '1', b: '2'}\n")
    assert "created" in await kubectl(api, *command, "apply", "-f", str(file))
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '3'}\n")
    assert "configured" in await kubectl(api, *command, "apply", "-f", str(file))
    applied = await api.get(f"/api/v1/namespaces/{namespace}/configmaps/applied")
    assert applied["data"] == {"a": "3"}
