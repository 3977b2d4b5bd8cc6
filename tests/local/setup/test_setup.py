"""`kubeprobe cluster setup` creates what cases need; `cluster check` finds what is missing."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from probes._access import find_access
from probes._api import Api
from tests.services.cli.conftest import CommandLine

ENFORCE = "pod-security.kubernetes.io/enforce"
ON_THE_NODE = """\
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: on-the-node}
spec:
  image: docker.io/kubeprobe/probes:dev
  serviceAccountName: kubeprobe-on-the-node
  pod: {hostPID: true}
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: on-the-node}
spec: {template: on-the-node, kind: inspection}
"""


@pytest.fixture
def api(kubeconfig: Path) -> Any:
    with Api(find_access({"KUBECONFIG": str(kubeconfig)})) as api:
        yield api


def namespace_of(command_line: CommandLine) -> str:
    [cluster] = command_line.json("cluster", "list")
    return str(cluster["namespace"])


def done(command_line: CommandLine, *more: str) -> dict[str, str]:
    applied = command_line.json("cluster", "setup", "prod-1", "--apply", *more)
    return {f"{one['kind']}/{one['name']}": one["action"] for one in applied}


def problems(command_line: CommandLine) -> dict[str, str]:
    found = command_line.json("cluster", "check", "prod-1", code=1)
    return {one["check"]: f"{one['found']} -> {one['remedy']}" for one in found if not one["ok"]}


def test_setup_prints_objects_for_kubectl_and_changes_nothing(command_line: CommandLine, api: Api) -> None:
    result = command_line("cluster", "setup", "prod-1", "--cases", "pod-lifecycle")
    kinds = [body["kind"] for body in yaml.safe_load_all(result.stdout)]
    assert kinds == ["Namespace", "ServiceAccount", "Role", "RoleBinding"]
    assert "What prod-1 needs for pod-lifecycle" in result.stderr
    assert "kubectl apply -f -" in result.stderr
    assert namespace_of(command_line) not in [
        body["metadata"]["name"] for body in api.get("/api/v1/namespaces")["items"]
    ]


def test_setup_prints_json_as_a_kubernetes_list(command_line: CommandLine) -> None:
    found = command_line.json("cluster", "setup", "prod-1", "--all")
    assert (found["apiVersion"], found["kind"]) == ("v1", "List")
    accounts = {body["metadata"]["name"] for body in found["items"] if body["kind"] == "ServiceAccount"}
    assert {"kubeprobe-pod-lifecycle", "kubeprobe-certificate-expiry"} <= accounts


def test_a_second_apply_changes_only_what_differs(command_line: CommandLine, api: Api) -> None:
    assert set(done(command_line).values()) <= {"created", "unchanged"}  # ClusterRoles may exist from an earlier test
    assert set(done(command_line).values()) == {"unchanged"}

    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace_of(command_line)}/roles"
    api.patch(f"{roles}/kubeprobe-pod-lifecycle", {"rules": []})
    changed = [name for name, what in done(command_line).items() if what != "unchanged"]
    assert changed == ["Role/kubeprobe-pod-lifecycle"]
    assert api.get(f"{roles}/kubeprobe-pod-lifecycle")["rules"]


def test_check_reports_cases_without_an_account_with_the_command_that_fixes_it(
    command_line: CommandLine, api: Api
) -> None:
    assert "kubeprobe cluster setup prod-1 --apply" in problems(command_line)["namespace"]
    done(command_line)
    assert command_line("cluster", "check", "prod-1")
    accounts = f"/api/v1/namespaces/{namespace_of(command_line)}/serviceaccounts"
    api.delete(f"{accounts}/kubeprobe-pod-lifecycle")
    found = problems(command_line)
    assert list(found) == ["case pod-lifecycle"]
    assert (
        "kubeprobe-pod-lifecycle does not exist -> kubeprobe cluster setup prod-1 --apply"
        in found["case pod-lifecycle"]
    )
    done(command_line)
    assert command_line("cluster", "check", "prod-1")


def test_the_level_of_a_namespace_is_relaxed_only_with_apply_and_the_reason_is_shown(
    command_line: CommandLine, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEPROBE_TEMPLATE_HOST_ACCESS", "*")
    command_line("apply", "--built-in", "--without-bindings", "--prune")
    done(command_line, "--cases", "pod-lifecycle")
    path = f"/api/v1/namespaces/{namespace_of(command_line)}"
    assert api.get(path)["metadata"]["labels"][ENFORCE] == "restricted"

    command_line.apply(ON_THE_NODE)
    printed = command_line("cluster", "setup", "prod-1", "--cases", "on-the-node")
    assert (
        "enforces the Pod Security level restricted, which rejects the pods of on-the-node (hostPID)" in printed.stderr
    )
    assert api.get(path)["metadata"]["labels"][ENFORCE] == "restricted"

    applied = command_line("cluster", "setup", "prod-1", "--cases", "on-the-node", "--apply")
    assert "on-the-node (hostPID)" in applied.stderr
    assert api.get(path)["metadata"]["labels"][ENFORCE] == "privileged"
    output = command_line("cluster", "setup", "prod-1", "--cases", "pod-lifecycle", "--apply").stdout
    assert "its Pod Security level is left privileged" in output, "a chosen level is not made stricter"


def test_setup_of_some_cases_keeps_what_other_bound_cases_need(command_line: CommandLine, api: Api) -> None:
    done(command_line, "--own")
    changed = [
        name for name, what in done(command_line, "--own", "--cases", "pod-lifecycle").items() if what != "unchanged"
    ]
    assert changed == []
    printed = command_line.json("cluster", "setup", "prod-1", "--cases", "pod-lifecycle")
    assert printed["items"][0]["metadata"]["labels"][ENFORCE] == "privileged", "probes of nodes are bound there too"


def test_the_own_account_can_run_pods_and_sweep_what_cases_create(
    command_line: CommandLine,
) -> None:
    command_line("apply", "--built-in", "--without-bindings", "--prune")
    found = command_line.json("cluster", "setup", "prod-1", "--cases", "pod-lifecycle,namespace-lifecycle", "--own")
    mine = [body for body in found["items"] if body["metadata"]["name"].endswith("kubeprobe") and "rules" in body]
    granted = {(body["kind"], *rule["resources"], *rule["verbs"]) for body in mine for rule in body["rules"]}
    assert {
        ("Role", "pods", "create", "get", "list", "watch", "delete"),
        ("Role", "pods/log", "get"),
        ("Role", "pods", "list", "delete"),
        ("ClusterRole", "nodes", "list", "watch"),
        ("ClusterRole", "namespaces", "list", "delete"),
    } <= granted


def test_without_bindings_the_cases_must_be_given(kubeprobe: CommandLine) -> None:
    kubeprobe.add_cluster("prod-1")
    assert "kubeprobe apply --built-in" in kubeprobe("cluster", "setup", "prod-1", code=2).stderr
    kubeprobe("apply", "--built-in", "--without-bindings")
    assert "--cases admission,api-crud or --all" in kubeprobe("cluster", "setup", "prod-1", code=2).stderr
    output = kubeprobe("cluster", "setup", "prod-1", "--cases", "pod-livecycle", code=2).stderr
    assert "Did you mean 'pod-lifecycle'?" in output


def test_image_replaces_that_of_the_built_in_templates_only(kubeprobe: CommandLine) -> None:
    kubeprobe.write("catalog/all.yaml", ON_THE_NODE.replace("hostPID: true", "priority: 1"))
    file = str(kubeprobe.folder / "catalog")
    planned = kubeprobe("plan", "--built-in", "--image", "registry.example/probes:1", "-f", file).stdout
    assert "Plan: " in planned
    kubeprobe("apply", "--built-in", "--image", "registry.example/probes:1", "-f", file)
    again = kubeprobe("plan", "--built-in", "-f", file).stdout
    assert "~ ProbeTemplate/pod-lifecycle" in again
    assert "image: registry.example/probes:1 -> docker.io/kubeprobe/probes:dev" in again
    assert "~ ProbeTemplate/on-the-node" not in again  # other templates keep their image


def test_check_reports_a_field_that_the_cluster_does_not_have(command_line: CommandLine) -> None:
    newer = ON_THE_NODE.replace("{hostPID: true}", "{fromTheFuture: 1}\n  extraPodFields: [fromTheFuture]")
    binding = (
        "---\napiVersion: kubeprobe.io/v1\nkind: Binding\nmetadata: {name: newer}\n"
        "spec: {cases: [on-the-node], clusters: {selector: {}}, on: {periodic: {every: 5m}}}\n"
    )
    command_line.apply(newer + binding)
    done(command_line)
    assert 'unknown field "spec.fromTheFuture"' in problems(command_line)["case on-the-node"]
