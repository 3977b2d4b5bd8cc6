"""From a run's identity to its pod. What is the same for all runs of a case is computed once per catalog copy.

Next: `execution` creates the pod. Rendered pods share these parts: serialize them, never modify them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubeprobe import vocabulary
from kubeprobe.catalog.merge import merge_pod
from kubeprobe.catalog.model import ProbeCaseSpec, ProbeTemplateSpec, RenderConfigSpec
from kubeprobe.catalog.model.rule import rules_variable
from kubeprobe.catalog.policy import PolicyError, TemplatePolicy, loader_variables
from kubeprobe.catalog.snapshot import Catalog

BACKSTOP_S = 30
"""How much later than KubeProbe's own deadline the kubelet's is: it must only act if no collector does."""
_CASE_IN_POD_NAME = 28
"""63 - len("kp-") - len("-") - 26 (ULID) - len("-" and up to four digits of the attempt)."""
_PROBE_USER = 65_532
"""User of distroless images; lets images that set no user run under `runAsNonRoot`."""
_TMP = "kubeprobe-tmp"
_FROM_POD = (
    (vocabulary.ENV_POD_NAME, "metadata.name"),
    (vocabulary.ENV_POD_UID, "metadata.uid"),
    (vocabulary.ENV_NAMESPACE, "metadata.namespace"),
    (vocabulary.ENV_NODE, "spec.nodeName"),
)
_DOWNWARD = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FROM_POD]
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""With _POD_SECURITY: the `restricted` Pod Security Standard."""
_LINUX = {"kubernetes.io/os": "linux"}
"""Default node selector: a cluster may have Windows nodes too."""
_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": _PROBE_USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class RunIdentity:
    """Everything about a run that its pod depends on."""

    run_id: str
    installation: str
    case: str
    cluster: str
    trigger: str
    namespace: str = "kubeprobe"
    cluster_labels: Mapping[str, str] = field(default_factory=dict)
    binding: str | None = None
    node: str | None = None
    """The node that its pod is pinned to; None: the scheduler chooses."""
    attempt: int = 1
    parameters: Mapping[str, str] | None = None
    """Parameters of a manual run; they override all others."""


@dataclass(frozen=True)
class _Blueprint:
    """The part of a case's pods that is the same for all runs."""

    policy: str
    run_timeout: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    values: Mapping[str, str]
    render_config: RenderConfigSpec | None
    spec: Mapping[str, Any]
    probe: Mapping[str, Any]
    extra_env: tuple[Mapping[str, Any], ...]
    """The rules, and the variables of the template's `pod`."""
    others: tuple[Mapping[str, Any], ...]


def pod_name(case: str, run_id: str, attempt: int = 1) -> str:
    """The pod's name. It depends on run and attempt only, so creating a pod twice is a conflict, not a second pod."""
    name = f"kp-{case[:_CASE_IN_POD_NAME].rstrip('-')}-{run_id}"
    return name if attempt == 1 else f"{name}-{attempt}"


def render_pod(catalog: Catalog, identity: RunIdentity, policy: TemplatePolicy | None = None) -> dict[str, Any]:
    """The pod of a run, as JSON values.

    Raises CatalogNotFoundError if its case or template no longer exists, and PolicyError if a `policy` is given that
    does not allow the pod.
    """
    plan = _blueprint(catalog, identity.case, identity.binding)
    probe = {**plan.probe, "env": _environment(plan, identity)}
    if policy is not None:
        _check_policy(catalog, identity, policy, {**plan.spec, "containers": [probe, *plan.others]})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(identity.case, identity.run_id, identity.attempt),
            "namespace": identity.namespace,
            "labels": {
                **plan.labels,
                vocabulary.LABEL_MANAGED_BY: vocabulary.MANAGED_BY,
                vocabulary.LABEL_INSTALLATION: identity.installation,
                vocabulary.LABEL_RUN: identity.run_id,
                vocabulary.LABEL_CASE: identity.case,
                vocabulary.LABEL_ATTEMPT: str(identity.attempt),
            },
            "annotations": {
                **plan.annotations,
                vocabulary.ANNOTATION_POLICY: plan.policy,
                vocabulary.ANNOTATION_CLUSTER: identity.cluster,
                vocabulary.ANNOTATION_TRIGGER: identity.trigger,
                **({vocabulary.ANNOTATION_BINDING: identity.binding} if identity.binding else {}),
                **({vocabulary.ANNOTATION_NODE: identity.node} if identity.node else {}),
            },
        },
        "spec": {**plan.spec, **_pin(identity.node), "containers": [probe, *plan.others]},
    }


def _check_policy(catalog: Catalog, identity: RunIdentity, policy: TemplatePolicy, pod: Mapping[str, Any]) -> None:
    template = catalog.case(identity.case).template
    source, annotations = catalog.template_sources.get(template), catalog.template(template).annotations
    refusals = policy.refusals(template, source, pod, annotations)
    containers = (*(pod.get("initContainers") or ()), *pod["containers"])
    names = (variable["name"] for container in containers for variable in container.get("env") or ())
    refusals += [f"variable {name}: it makes a program load other code" for name in loader_variables(names)]
    if refusals:
        raise PolicyError(f"ProbeTemplate {template} is not allowed: {'; '.join(refusals)}")


def _pin(node: str | None) -> dict[str, Any]:
    """The fields that pin a pod to its node.

    `nodeName`, not affinity as DaemonSets use: the node is probed even if the scheduler is down, and a kubelet without
    capacity rejects the pod at once. This bypasses NoSchedule taints, but a NoExecute taint would evict the pod, so
    every taint is tolerated. The template's nodeSelector and affinity still apply: the kubelet checks them.
    """
    return {"nodeName": node, "tolerations": [{"operator": "Exists"}]} if node else {}


def values_for(catalog: Catalog, identity: RunIdentity) -> dict[str, str]:
    """The variables that people set; later ones override earlier ones: template, case, render config, manual run."""
    return _values(_blueprint(catalog, identity.case, identity.binding), identity)


def pod_spec_of(catalog: Catalog, case: str) -> dict[str, Any]:
    """The PodSpec of a case's pods without the environment variables, which differ from run to run."""
    plan = _blueprint(catalog, case, None)
    return {**plan.spec, "containers": [plan.probe, *plan.others]}


def merged_pod_spec(template: ProbeTemplateSpec, deadline_s: int = BACKSTOP_S) -> dict[str, Any]:
    """KubeProbe's own PodSpec of a template, with the template's `pod` merged over it."""
    return merge_pod(_pod_spec(template, deadline_s), template.pod)


def _values(plan: _Blueprint, identity: RunIdentity) -> dict[str, str]:
    values = dict(plan.values)
    if plan.render_config is not None:
        values.update(plan.render_config.values_for(identity.cluster, identity.cluster_labels))
    manual = identity.parameters or {}
    values.update((name, value) for name, value in manual.items() if not name.startswith(vocabulary.ENV_PREFIX))
    return values


def _environment(plan: _Blueprint, identity: RunIdentity) -> list[Mapping[str, Any]]:
    """KubeProbe's variables come first, so that other values can use them, such as `$(KUBEPROBE_RUN_ID)`."""
    values = _values(plan, identity)
    ours = {
        vocabulary.ENV_RUN_ID: identity.run_id,
        vocabulary.ENV_INSTALLATION: identity.installation,
        vocabulary.ENV_CASE: identity.case,
        vocabulary.ENV_CLUSTER: identity.cluster,
        vocabulary.ENV_TRIGGER: identity.trigger,
        vocabulary.ENV_RUN_TIMEOUT: plan.run_timeout,
        vocabulary.ENV_REPORT_FILE: vocabulary.REPORT_FILE,
        vocabulary.ENV_PARAMETERS: ",".join(values),
    }
    return [
        *({"name": name, "value": value} for name, value in ours.items()),
        *_DOWNWARD,
        *({"name": name, "value": value} for name, value in values.items()),
        *plan.extra_env,
    ]


def _blueprint(catalog: Catalog, case: str, binding: str | None) -> _Blueprint:
    key = (case, binding)
    found: _Blueprint | None = catalog.blueprints.get(key)
    if found is None:
        spec = catalog.case(case)
        template = catalog.template(spec.template)
        found = _make_blueprint(spec, template, catalog.render_config(case, binding))
        catalog.blueprints[key] = found
    return found


def _make_blueprint(
    case: ProbeCaseSpec, template: ProbeTemplateSpec, render_config: RenderConfigSpec | None
) -> _Blueprint:
    start_s = int(case.timeouts.start.total_seconds())
    run_s = int(case.timeouts.run.total_seconds())
    policy = {"verdictFrom": template.verdict_from, "startS": start_s, "runS": run_s, "retries": case.retries}
    spec = merged_pod_spec(template, start_s + run_s + BACKSTOP_S)
    probe, *others = spec.pop("containers")
    if "initContainers" in spec:
        spec["initContainers"] = [_with_security(container) for container in spec["initContainers"]]
    return _Blueprint(
        policy=orjson.dumps(policy).decode(),
        run_timeout=str(run_s),
        labels=template.labels,
        annotations=template.annotations,
        values={**template.env, **case.parameters},
        render_config=render_config,
        spec=spec,
        extra_env=(*_rules(case), *probe.pop("env", ())),
        probe=probe,
        others=tuple(_with_security(container) for container in others),
    )


def _rules(case: ProbeCaseSpec) -> list[Mapping[str, Any]]:
    return [{"name": vocabulary.ENV_RULES, "value": rules_variable(case.rules)}] if case.rules else []


def _with_security(container: Mapping[str, Any]) -> dict[str, Any]:
    """Another container of the template, `restricted` unless it sets otherwise."""
    return merge_pod({"securityContext": _CONTAINER_SECURITY}, container)


def _pod_spec(template: ProbeTemplateSpec, deadline_s: int) -> dict[str, Any]:
    """The pod before the template's own `pod` is merged over it."""
    account = template.service_account_name
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        # Counted from when the kubelet accepts the pod, so it includes pulling the image. A collector ends a run
        # before that; this deadline ends the pod if no collector is running.
        "activeDeadlineSeconds": deadline_s,
        "automountServiceAccountToken": account is not None,
        "enableServiceLinks": False,
        "nodeSelector": {**_LINUX, **template.node_selector},
        "securityContext": _POD_SECURITY,
        "containers": [_probe_container(template)],
        "volumes": [{"name": _TMP, "emptyDir": {}}],
    }
    if account is not None:
        spec["serviceAccountName"] = account
    if template.tolerations:
        spec["tolerations"] = [toleration.as_json() for toleration in template.tolerations]
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in template.image_pull_secrets]
    return spec


def _probe_container(template: ProbeTemplateSpec) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": vocabulary.PROBE_CONTAINER,
        "image": template.image,
        "imagePullPolicy": template.image_pull_policy,
        "terminationMessagePath": vocabulary.REPORT_FILE,
        "terminationMessagePolicy": "File",
        "securityContext": {**_CONTAINER_SECURITY, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": _TMP, "mountPath": "/tmp"}],  # noqa: S108 - in the pod, an emptyDir of its own
    }
    if template.command:
        container["command"] = list(template.command)
    if template.args:
        container["args"] = list(template.args)
    if resources := template.resources.as_json():
        container["resources"] = resources
    return container
