"""A template's `pod` is checked against Kubernetes' schema of PodSpec, at all levels."""

import pytest

from kubeprobe.catalog import parse
from kubeprobe.catalog.builtin import built_in_files
from tests.unit.catalog.given import document, only_problem, problems


def template(pod: str, more: str = "") -> str:
    return document("ProbeTemplate", f"{{image: a, pod: {pod}{more}}}")


@pytest.mark.parametrize(
    ("pod", "path", "expected", "near"),
    [
        ("{containers: [{name: probe, volumemounts: []}]}", "containers[0].volumemounts", "Container", "volumeMounts"),
        ("{volumes: [{name: a, configmap: {}}]}", "volumes[0].configmap", "Volume", "configMap"),
        (
            "{volumes: [{name: a, projected: {sources: [{secret: {items: [{key: a, path: b, mod: 1}]}}]}}]}",
            "volumes[0].projected.sources[0].secret.items[0].mod",
            "KeyToPath",
            "mode",
        ),
        ("{affinity: {nodeAfinity: {}}}", "affinity.nodeAfinity", "nodeAffinity", "nodeAffinity"),
        (
            "{securityContext: {seccompProfile: {type: Runtimedefault}}}",
            "securityContext.seccompProfile.type",
            "Localhost",
            "RuntimeDefault",
        ),
        ("{dnsPolicy: clusterFirst}", "dnsPolicy", "ClusterFirst", "ClusterFirst"),
        ("{hostNetwork: 'true'}", "hostNetwork", "true or false", ""),
        ("{priority: 1.5}", "priority", "a whole number", ""),
        ("{priority: 4294967296}", "priority", "int32", ""),
        ("{hostname: 0400}", "hostname", '"0400"', ""),
        ("{hostname: yes}", "hostname", '"yes"', ""),
        ("{nodeSelector: {a: 1}}", "nodeSelector.a", '"1"', ""),
        ("{nodeSelector: [a]}", "nodeSelector", "a mapping", ""),
        ("{tolerations: {}}", "tolerations", "a list", ""),
        ("{hostAliases: [{hostnames: [a]}]}", "hostAliases[0].ip", "HostAlias", ""),
        ("{containers: [{name: b}]}", "containers[0].image", "image", ""),
        ("{initContainers: [{name: b}]}", "initContainers[0].image", "image", ""),
        (
            "{containers: [{name: probe, volumeMounts: [{mountPath: /a}]}]}",
            "containers[0].volumeMounts[0].name",
            "VolumeMount",
            "",
        ),
        ("{volumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]}", "volumes[1]", "each name once", ""),
        ("{volumes: [{name: a, emptyDir: {sizeLimit: 1 Gi}}]}", "volumes[0].emptyDir.sizeLimit", "quantity", ""),
        ("{containers: [{name: probe, args: [null]}]}", "containers[0].args[0]", "a string", ""),
        (
            "{containers: [{name: probe, ports: [{containerPort: yes}]}]}",
            "containers[0].ports[0].containerPort",
            "a whole number",
            "",
        ),
    ],
)
def test_a_pod_that_kubernetes_would_not_understand_is_rejected(tmp_path, pod, path, expected, near):
    found = only_problem(tmp_path, template(pod))
    assert (found.path, found.nearest, found.line) == (f"spec.pod.{path}", near, 4)
    assert expected in found.expected


@pytest.mark.parametrize(
    "pod",
    [
        "{containers: [{name: probe, volumeMounts: [{mountPath: /tmp, readOnly: true}]}]}",
        "{volumes: [{name: kubeprobe-tmp, emptyDir: {medium: Memory, sizeLimit: 10Mi}}]}",
        "{securityContext: {seccompProfile: {localhostProfile: a.json}}}",
        "{securityContext: null, containers: [{name: probe, securityContext: null}]}",
        "{containers: [{name: probe, livenessProbe: {httpGet: {port: http}}, ports: [{containerPort: 80}]}]}",
        "{containers: [{name: probe, resources: {limits: {cpu: 0.5, memory: 1e9, x: 3}}}]}",
        "{schedulingGroup: {podGroupName: a}}",
    ],
)
def test_a_partial_pod_needs_only_what_kubeprobes_own_lacks(tmp_path, pod):
    assert problems(tmp_path, template(pod)) == []


def test_a_field_of_a_newer_version_is_accepted_once_it_is_listed(tmp_path):
    pod = "{newField: {a: 1}, containers: [{name: probe, newer: x}]}"
    found = problems(tmp_path, template(pod))
    assert [problem.path for problem in found] == ["spec.pod.containers[0].newer", "spec.pod.newField"]
    assert all("extraPodFields" in problem.expected for problem in found)
    assert problems(tmp_path, template(pod, ", extraPodFields: [newField, newer]")) == []


@pytest.mark.parametrize("pod", ["{securityContext: text}", "{containers: [{name: probe, ports: 5}]}"])
def test_a_known_field_is_checked_even_if_it_is_listed(tmp_path, pod):
    (found,) = problems(tmp_path, template(pod, ", extraPodFields: [securityContext, ports]"))
    assert "is not a" in found.message


def test_the_built_in_probes_conform():
    assert parse(built_in_files(bindings=True)).names("ProbeTemplate")
