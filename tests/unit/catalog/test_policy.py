"""What a template may do is closed, but for what the installation's settings allow."""

import pytest

from kubeprobe.catalog import Catalog, RunIdentity, check_parameters, parse, render_pod
from kubeprobe.catalog.builtin import built_in_files
from kubeprobe.catalog.model import ProbeCaseSpec, ProbeTemplateSpec
from kubeprobe.catalog.policy import DEFAULT_POLICY, PolicyError, TemplatePolicy
from kubeprobe.catalog.render import merged_pod_spec
from kubeprobe.errors import InvalidInputError
from kubeprobe.settings import Settings
from tests.unit.catalog.given import TEMPLATE, document, problems

DEMANDS = {
    "hostNetwork": {"hostNetwork": True},
    "hostPID": {"hostPID": True},
    "hostIPC": {"hostIPC": True},
    "hostPath volumes": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]},
    "privileged": {"containers": [{"name": "probe", "securityContext": {"privileged": True}}]},
    "capability SYS_ADMIN": {
        "initContainers": [{"name": "a", "image": "b", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]
    },
    "host ports": {"containers": [{"name": "probe", "ports": [{"containerPort": 1, "hostPort": 1}]}]},
    "a host in a probe": {
        "containers": [{"name": "probe", "livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}}]
    },
    "or lifecycle hook": {
        "containers": [{"name": "probe", "lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 22}}}}]
    },
    "procMount": {"containers": [{"name": "side", "image": "b", "securityContext": {"procMount": "Unmasked"}}]},
    "hostProcess": {"securityContext": {"windowsOptions": {"hostProcess": True}}},
    "seccompProfile Unconfined": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    "seLinuxOptions": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
    "sysctls": {"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}},
}
IDENTITY = RunIdentity("r", "i", "c", "x", "manual")


def rendered(policy, source=None, parameters=None, **fields):
    template = ProbeTemplateSpec.model_validate({"image": "a", **fields})
    case = ProbeCaseSpec.model_validate({"template": "t", "kind": "blackbox", "parameters": parameters or {}})
    sources = {"t": source} if source else {}
    return render_pod(Catalog(1, {"t": template}, {"c": case}, template_sources=sources), IDENTITY, policy)


@pytest.mark.parametrize(("demand", "pod"), DEMANDS.items(), ids=DEMANDS)
def test_access_to_the_node_is_refused_unless_the_template_is_listed(demand, pod):
    with pytest.raises(PolicyError, match=f"{demand}.*KUBEPROBE_TEMPLATE_HOST_ACCESS lists: t"):
        rendered(DEFAULT_POLICY, pod=pod)
    assert rendered(TemplatePolicy(frozenset({"t"})), pod=pod)
    assert rendered(TemplatePolicy(frozenset({"*"})), pod=pod)


@pytest.mark.parametrize(
    "key", ["container.apparmor.security.beta.kubernetes.io/probe", "seccomp.security.alpha.kubernetes.io/pod"]
)
def test_an_unconfined_profile_in_an_annotation_is_refused(key):
    with pytest.raises(PolicyError, match=r"Profile Unconfined.*lists: t"):
        rendered(DEFAULT_POLICY, annotations={key: "unconfined"})
    assert rendered(DEFAULT_POLICY, annotations={key: "runtime/default"})
    assert rendered(TemplatePolicy(frozenset({"t"})), annotations={key: "unconfined"})


def test_a_template_of_a_source_is_listed_with_its_source():
    pod = DEMANDS["hostPID"]
    with pytest.raises(PolicyError, match="lists: git/t"):
        rendered(TemplatePolicy(frozenset({"t"})), source="git", pod=pod)
    assert rendered(TemplatePolicy(frozenset({"git/t"})), source="git", pod=pod)


@pytest.mark.parametrize(
    ("image", "is_allowed"),
    [
        ("registry.example.com/probes/a:1", True),
        ("registry.example.com/probes", True),
        ("registry.example.com/probes-evil/a", False),
        ("registry.example.com.evil/probes/a", False),
        ("busybox", False),
        ("library/busybox", False),
        ("docker.io/kubeprobe/a", True),
        ("kubeprobe/a", True),
        ("Kubeprobe/a", False),
        ("whole.example.com/a", True),
        ("whole.example.com:5000/a", False),
    ],
)
def test_images_are_limited_to_the_allowed_registries(image, is_allowed):
    policy = TemplatePolicy(registries=("registry.example.com/probes/", "docker.io/kubeprobe", "whole.example.com"))
    pods = [{"image": image}, {"image": "kubeprobe/a", "pod": {"initContainers": [{"name": "b", "image": image}]}}]
    pods += [{"image": "kubeprobe/a", "pod": {"volumes": [{"name": "b", "image": {"reference": image}}]}}]
    for fields in pods:
        if is_allowed:
            assert rendered(policy, **fields)
        else:
            with pytest.raises(PolicyError, match="KUBEPROBE_TEMPLATE_REGISTRIES"):
                rendered(policy, **fields)


def test_images_must_name_a_digest_where_that_is_required():
    with pytest.raises(PolicyError, match="KUBEPROBE_TEMPLATE_DIGESTS"):
        rendered(TemplatePolicy(needs_digests=True), image="a:1")
    assert rendered(TemplatePolicy(needs_digests=True), image="a@sha256:" + "0" * 64)


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "NODE_OPTIONS", "DYLD_LIBRARY_PATH", "PATH"],
)
def test_variables_that_load_other_code_are_refused_everywhere(tmp_path, name):
    case = f"{{template: probes, kind: blackbox, parameters: {{{name}: x}}}}"
    for kind, spec in (
        ("ProbeTemplate", f"{{image: a, env: {{{name}: x}}}}"),
        ("ProbeTemplate", f"{{image: a, pod: {{containers: [{{name: probe, env: [{{name: {name}, value: x}}]}}]}}}}"),
        ("ProbeTemplate", f"{{image: a, pod: {{containers: [{{name: b, image: a, env: [{{name: {name}}}]}}]}}}}"),
        ("ProbeCase", case),
        ("RenderConfig", f"{{for: x, values: {{{name}: x}}}}"),
        ("RenderConfig", f"{{for: x, overrides: [{{clusterSelector: {{}}, values: {{{name}: x}}}}]}}"),
    ):
        other = "" if kind != "RenderConfig" else document("ProbeCase", "{template: probes, kind: blackbox}")
        found = problems(tmp_path, TEMPLATE, *([other] if other else []), document(kind, spec))
        assert [name in str(problem) for problem in found] == [True], (kind, found)
    with pytest.raises(InvalidInputError, match=name):
        check_parameters({name: "x"})
    with pytest.raises(PolicyError, match=name):
        rendered(DEFAULT_POLICY, parameters={name: "x"})


def test_harmless_variables_are_allowed(tmp_path):
    assert check_parameters({"PYTHONUNBUFFERED": "1", "PATHS": "/", "MY_LD_X": "1"})


def test_text_that_cannot_be_stored_is_no_parameter():
    for value in ("a\0b", "\ud83d"):
        with pytest.raises(InvalidInputError, match="parameter A: the text contains NUL"):
            check_parameters({"A": value})


def test_the_built_in_probes_are_allowed_by_default_but_not_from_a_source():
    templates = parse(built_in_files(bindings=True)).specs("ProbeTemplate", ProbeTemplateSpec)
    refused = {
        name: DEFAULT_POLICY.refusals(name, None, merged_pod_spec(spec), spec.annotations)
        for name, spec in templates.items()
    }
    assert {name for name, found in refused.items() if found} == set()
    of_source = {
        name
        for name, spec in templates.items()
        if DEFAULT_POLICY.refusals(name, "git", merged_pod_spec(spec), spec.annotations)
    }
    assert of_source == {"kube-proxy-rules", "node-health", "node-netns-leak"}


def test_settings_are_lists_separated_by_commas(monkeypatch):
    monkeypatch.setenv("KUBEPROBE_TEMPLATE_HOST_ACCESS", "a, git/b")
    monkeypatch.setenv("KUBEPROBE_TEMPLATE_REGISTRIES", "")
    monkeypatch.setenv("KUBEPROBE_TEMPLATE_DIGESTS", "true")
    assert TemplatePolicy.of(Settings()) == TemplatePolicy(frozenset({"a", "git/b"}), (), needs_digests=True)
