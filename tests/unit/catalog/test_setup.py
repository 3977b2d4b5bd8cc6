"""The objects that cases need in a cluster."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.model import BindingSpec, ProbeCaseSpec, ProbeTemplateSpec, RenderConfigSpec
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.catalog.setup import TargetCluster, check_cases, setup_objects
from kubeprobe.fleet.check import Finding
from tests.unit.catalog.test_policy import DEMANDS

PODS = {"resources": ["pods"], "verbs": ["create", "delete"]}
NODES = {"scope": "cluster", "resources": ["nodes"], "verbs": ["list"]}
THERE = {"namespace": "$(TARGET)", "resources": ["configmaps"], "verbs": ["get"]}


def catalog(rbac: list[dict[str, Any]], case: Mapping[str, Any] | None = None, **template: Any) -> Catalog:
    template = {"image": "i", "serviceAccountName": "prober", "rbac": rbac, **template}
    values = {"template": "t", "kind": "inspection", **(case or {})}
    return Catalog(
        templates={"t": ProbeTemplateSpec.model_validate(template)},
        cases={"c": ProbeCaseSpec.model_validate(values)},
    )


def roles(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, Any]]:
    for body in objects:
        if "rules" in body:
            metadata = body["metadata"]
            yield body["kind"], metadata.get("namespace", ""), metadata["name"], body["rules"]


def test_a_case_needs_a_namespace_an_account_and_a_role() -> None:
    namespace, account, role, binding = setup_objects(catalog([PODS]), ["c"], TargetCluster("prod-1", "probing"))
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "probing")
    assert (account["kind"], account["metadata"]["namespace"]) == ("ServiceAccount", "probing")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete"]}]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "prober", "namespace": "probing"}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "prober"


def test_cluster_roles_are_named_after_the_namespace_so_that_installations_do_not_conflict() -> None:
    [role] = roles(setup_objects(catalog([NODES]), ["c"], TargetCluster("prod-1", "probing")))
    assert role[:3] == ("ClusterRole", "", "probing:prober")


def test_a_parameter_determines_the_namespaces_of_a_permission() -> None:
    found = setup_objects(catalog([THERE], {"parameters": {"TARGET": "a, b"}}), ["c"], TargetCluster("prod-1"))
    assert [role[:2] for role in roles(found)] == [("Role", "a"), ("Role", "b")]


def test_without_the_parameter_a_permission_applies_to_its_scope() -> None:
    everywhere = {**THERE, "scope": "cluster"}
    assert [role[:2] for role in roles(setup_objects(catalog([THERE]), ["c"], TargetCluster("x")))] == [
        ("Role", "kubeprobe")
    ]
    assert [role[:2] for role in roles(setup_objects(catalog([everywhere]), ["c"], TargetCluster("x")))] == [
        ("ClusterRole", "")
    ]


def test_a_bindings_render_config_changes_the_namespace_of_a_permission() -> None:
    spec = BindingSpec.model_validate(
        {
            "cases": ["c"],
            "clusters": {"names": ["prod-1"]},
            "on": {"periodic": {"every": "1m"}},
            "renderConfig": "r",
        }
    )
    config = RenderConfigSpec.model_validate({"for": "c", "values": {"TARGET": "shop"}})
    plain = catalog([THERE])
    bound = Catalog(templates=plain.templates, cases=plain.cases, bindings={"b": spec}, render_configs={"r": config})
    assert {role[1] for role in roles(setup_objects(bound, ["c"], TargetCluster("prod-1")))} == {"shop"}


def test_cases_that_share_an_account_share_its_roles_without_duplicates() -> None:
    base = catalog([PODS])
    other = ProbeCaseSpec.model_validate({"template": "t", "kind": "inspection", "rbac": [NODES]})
    both = Catalog(templates=base.templates, cases={**base.cases, "d": other})
    found = {role[0]: role[3] for role in roles(setup_objects(both, ["c", "d", "c"], TargetCluster("x")))}
    assert len(found["Role"]) == len(found["ClusterRole"]) == 1


def test_other_bound_cases_keep_their_permissions_and_their_pods_are_admitted() -> None:
    base = catalog([PODS])
    other = ProbeCaseSpec.model_validate({"template": "t", "kind": "inspection", "rbac": [NODES]})
    node = catalog([], pod={"hostPID": True}, serviceAccountName="on-the-node")
    both = Catalog(
        templates={**base.templates, "n": node.templates["t"]},
        cases={**base.cases, "d": other, "n": node.cases["c"].model_copy(update={"template": "n"})},
    )
    objects = setup_objects(both, ["c"], TargetCluster("x"), also_bound=["c", "d", "n"])
    assert {role[0] for role in roles(objects)} == {"Role", "ClusterRole"}, "those of c, and of d with the same account"
    assert [body["metadata"]["name"] for body in objects if body["kind"] == "ServiceAccount"] == ["prober"]
    assert objects[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged", "for n's pods"


def as_user(pod: dict[str, Any], probe: dict[str, Any]) -> dict[str, Any]:
    return {"securityContext": pod, "containers": [{"name": "probe", "securityContext": probe}]}


@pytest.mark.parametrize(
    ("pod", "level"),
    [
        ({}, "restricted"),
        ({"hostNetwork": True}, "privileged"),
        ({"volumes": [{"name": "host", "hostPath": {"path": "/proc"}}]}, "privileged"),
        ({"containers": [{"name": "probe", "securityContext": {"privileged": True}}]}, "privileged"),
        ({"containers": [{"name": "probe", "securityContext": {"runAsUser": 0}}]}, "baseline"),
        ({"volumes": [{"name": "a", "nfs": {"server": "s", "path": "/"}}]}, "baseline"),
        ({"securityContext": {"seccompProfile": None}}, "baseline"),
        (
            {"containers": [{"name": "probe", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]},
            "privileged",
        ),
        ({"containers": [{"name": "helper", "image": "i"}]}, "restricted"),
        (as_user({"runAsUser": 0, "runAsNonRoot": True}, {"runAsUser": 1000}), "baseline"),
        (as_user({"runAsNonRoot": False}, {"runAsNonRoot": True}), "baseline"),
        (as_user({"runAsUser": 0, "runAsNonRoot": True}, {"runAsUser": None}), "baseline"),
        (as_user({"runAsNonRoot": True}, {"runAsNonRoot": None}), "restricted"),
        (as_user({"runAsNonRoot": None}, {"runAsNonRoot": None}), "baseline"),
        ({"containers": [{"name": "probe", "securityContext": {"capabilities": {"add": ["CHOWN"]}}}]}, "baseline"),
        (
            {"containers": [{"name": "probe", "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}]},
            "restricted",
        ),
        ({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}}, "restricted"),
        *((demand, "privileged") for demand in DEMANDS.values()),
    ],
)
def test_the_namespace_enforces_the_strictest_standard_that_its_pods_comply_with(pod: Any, level: str) -> None:
    [namespace, *_] = setup_objects(catalog([PODS], pod=pod), ["c"], TargetCluster("x"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level


def test_annotations_count_for_the_standard_that_a_namespace_enforces() -> None:
    unconfined = {"container.apparmor.security.beta.kubernetes.io/probe": "unconfined"}
    [namespace, *_] = setup_objects(catalog([PODS], annotations=unconfined), ["c"], TargetCluster("x"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_a_check_finds_what_launchers_refuse() -> None:
    class Api:
        """Accepts every dry run."""

        async def call(self, *_: object, **__: object) -> Any:
            return {"status": {"allowed": True}}

    def check(policy: TemplatePolicy) -> list[Finding]:
        target = TargetCluster("prod-1")
        checked = check_cases(Api(), catalog([PODS], pod={"hostPID": True}), ["c"], target, policy)  # type: ignore[arg-type]
        return asyncio.run(checked)

    [finding] = check(TemplatePolicy(frozenset()))
    assert not finding.ok and finding.check == "case c"
    assert "hostPID: only for templates that KUBEPROBE_TEMPLATE_HOST_ACCESS lists: t" in finding.found
    assert check(TemplatePolicy(frozenset({"t"})))[0].ok
    [finding] = check(TemplatePolicy(frozenset({"t"}), needs_digests=True))
    assert "KUBEPROBE_TEMPLATE_DIGESTS" in finding.found


def test_a_permission_is_for_resources_or_for_urls() -> None:
    with pytest.raises(ValueError, match="either resources or nonResourceURLs"):
        catalog([{"verbs": ["get"]}])
    with pytest.raises(ValueError, match="scope: cluster, and no namespace"):
        catalog([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}])
    with pytest.raises(ValueError, match="serviceAccountName beside it"):
        catalog([PODS], serviceAccountName=None)
