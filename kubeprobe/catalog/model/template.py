"""ProbeTemplate: the pod of a probe."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kubeprobe.catalog.merge import unmergeable
from kubeprobe.catalog.model.base import Document, Environment, LabelKey, Labels, Name, Quantity, Spec, Text
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.problems import invalid
from kubeprobe.vocabulary import ENV_PREFIX, LABEL_MANAGED_BY, OWN_DOMAIN, PROBE_CONTAINER

_RESERVED_POD_FIELDS = {
    "restartPolicy": "nothing: it is always Never, as an attempt is one pod",
    "activeDeadlineSeconds": "nothing: it is computed from the case's timeouts",
    "ephemeralContainers": "nothing: Kubernetes rejects them in a new pod",
}
_MAX_ANNOTATION_BYTES = 200 * 1024
"""Kubernetes allows 256 KiB for all annotations of an object, and KubeProbe sets some of its own."""
_RESERVED_CONTAINER_FIELDS = {
    "terminationMessagePath": "nothing: the report uses it",
    "terminationMessagePolicy": "nothing: the report uses it",
    "restartPolicy": "nothing: it is never restarted, as an attempt is one pod",
}


class Resources(Spec):
    """Resource requests and limits of the probe container, as in Kubernetes."""

    requests: dict[str, Quantity] = Field(default={}, description="such as {cpu: 50m, memory: 64Mi}")
    limits: dict[str, Quantity] = Field(default={}, description="such as {memory: 256Mi}")


class Toleration(Spec):
    """A toleration of the pod, as in Kubernetes."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class ProbeTemplateSpec(Spec):
    """The pod of a probe: image, command, service account, resources, and what its verdict is read from."""

    image: str = Field(min_length=1, pattern=r"^\S+$", description="image of the probe container, without spaces")
    command: tuple[Text, ...] = Field(default=(), description="replaces the image's entry point")
    args: tuple[Text, ...] = ()
    env: Environment = Field(default={}, description="variables of every case of this template, unless overridden")
    service_account_name: Name | None = Field(
        default=None, description="its token is mounted; default: the pod gets no token"
    )
    rbac: tuple[Permission, ...] = Field(
        default=(), description="permissions of the service account; `kubeprobe cluster setup` makes roles of them"
    )
    resources: Resources = Resources()
    verdict_from: Literal["report", "exitCode"] = Field(
        default="report",
        description="report: the probe's report and its exit code must agree; exitCode: 0 is pass, 1 is fail",
    )
    node_selector: Labels = Field(default={}, description="labels of the nodes that it can run on")
    tolerations: tuple[Toleration, ...] = ()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[Name, ...] = Field(default=(), description="names of Secrets")
    labels: Labels = Field(default={}, description="additional labels of its pods, for example for cost reports")
    annotations: dict[LabelKey, Text] = Field(
        default={}, description="additional annotations of its pods, for example to disable a service mesh's sidecar"
    )
    pod: dict[str, Any] = Field(
        default={},
        description="a partial PodSpec merged over KubeProbe's own: mappings by key, lists of named items by name, "
        "other lists and values are replaced, null removes",
    )
    extra_pod_fields: tuple[Text, ...] = Field(
        default=(),
        description="names of fields in pod that newer versions of Kubernetes have: they are not checked",
    )

    @field_validator("labels", "annotations")
    @classmethod
    def _check_reserved_keys(cls, given: dict[str, str]) -> dict[str, str]:
        for key in given:
            domain, slash, _ = key.rpartition("/")
            if key == LABEL_MANAGED_BY or (slash and f".{domain}".endswith(f".{OWN_DOMAIN}")):
                raise invalid(
                    f"{key!r} is reserved for KubeProbe",
                    expected=f"a key outside of {OWN_DOMAIN}, and not {LABEL_MANAGED_BY}",
                )
        return given

    @field_validator("annotations")
    @classmethod
    def _check_annotation_size(cls, annotations: dict[str, str]) -> dict[str, str]:
        size = sum(len(f"{key}{value}".encode()) for key, value in annotations.items())
        if size > _MAX_ANNOTATION_BYTES:
            raise invalid(f"annotations of {size} bytes", expected=f"at most {_MAX_ANNOTATION_BYTES} bytes in total")
        return annotations

    @field_validator("pod")
    @classmethod
    def _check_pod_fields(cls, pod: dict[str, Any]) -> dict[str, Any]:
        for name, value in pod.items():
            if name in _RESERVED_POD_FIELDS or (name == "containers" and value is None):
                raise invalid(f"{name} cannot be set", expected=_RESERVED_POD_FIELDS.get(name, "a list"))
        return pod

    @model_validator(mode="after")
    def _check_account(self) -> Self:
        if self.rbac and self.service_account_name is None:
            raise invalid("rbac needs a service account", expected="serviceAccountName beside it")
        return self

    @model_validator(mode="after")
    def _check_pod(self) -> Self:
        if path := unmergeable(self.pod):
            raise invalid("pod cannot be merged", expected=f"a list of mappings at {path}")
        for container in (*(self.pod.get("initContainers") or ()), *(self.pod.get("containers") or ())):
            if "restartPolicyRules" in container:  # an action can restart all containers
                raise invalid("restartPolicyRules cannot be set", expected="nothing: an attempt runs the probe once")
        for container in self.pod.get("containers") or ():
            if container["name"] == PROBE_CONTAINER:
                _check_probe(container)
        return self


def _check_probe(container: dict[str, Any]) -> None:
    """Refuses fields and variables of the probe container that KubeProbe sets itself."""
    for field, expected in _RESERVED_CONTAINER_FIELDS.items():
        if field in container:
            raise invalid(f"{field} of the probe container cannot be set", expected=expected)
    for variable in container.get("env") or ():
        if str(variable["name"]).startswith(ENV_PREFIX):
            raise invalid(f"{variable['name']!r} is reserved", expected=f"a name that does not start with {ENV_PREFIX}")


class ProbeTemplateDocument(Document):
    """Registers a probe image."""

    kind: Literal["ProbeTemplate"]
    spec: ProbeTemplateSpec
