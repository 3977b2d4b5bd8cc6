"""ProbeTemplate: how a probe's pod looks."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kubeprobe.catalog.merge import unmergeable
from kubeprobe.catalog.model.base import Document, Environment, LabelKey, Labels, Name, Quantity, Spec, Text
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.problems import nearest_name, wrong
from kubeprobe.vocabulary import ENV_PREFIX, LABEL_MANAGED_BY, OWN_DOMAIN, PROBE_CONTAINER

# core/v1 PodSpec of Kubernetes 1.35; the API server would silently drop a name that it does not know.
_POD_FIELDS = frozenset(
    """activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets
    initContainers nodeName nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates
    resourceClaims resources restartPolicy runtimeClassName schedulerName schedulingGates securityContext
    serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds
    tolerations topologySpreadConstraints volumes workloadRef""".split()  # noqa: SIM905 - a list this long is read as words
)
_OURS = {
    "restartPolicy": "nothing: it is always Never, for a run is one try",
    "activeDeadlineSeconds": "nothing: it follows from the case's timeouts",
    "ephemeralContainers": "nothing: Kubernetes refuses them in a new pod",
}
_ANNOTATIONS_SIZE = 200 * 1024
"""Kubernetes allows 256 KiB for all annotations of an object, and KubeProbe sets some of its own."""
_PROBE_OURS = ("terminationMessagePath", "terminationMessagePolicy")


class Resources(Spec):
    """What the probe container asks for and may use, as in Kubernetes."""

    requests: dict[str, Quantity] = Field(default={}, description="such as {cpu: 50m, memory: 64Mi}")
    limits: dict[str, Quantity] = Field(default={}, description="such as {memory: 256Mi}")


class Toleration(Spec):
    """A taint that the pod endures, as in Kubernetes."""

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class ProbeTemplateSpec(Spec):
    """How a probe's pod looks: image, command, service account, resources, and how its verdict is made."""

    image: str = Field(min_length=1, pattern=r"^\S+$", description="image of the probe container, without blanks")
    command: tuple[Text, ...] = Field(default=(), description="replaces the image's entry point")
    args: tuple[Text, ...] = ()
    env: Environment = Field(default={}, description="variables for every case of this template; a case may override")
    service_account_name: Name | None = Field(
        default=None, description="its token is mounted; left out: the pod gets no token"
    )
    rbac: tuple[Permission, ...] = Field(
        default=(), description="all that the service account may do; `kubeprobe cluster setup` makes roles of it"
    )
    resources: Resources = Resources()
    verdict_from: Literal["report", "exitCode"] = Field(
        default="report",
        description="report: the probe's report and its exit code must agree; exitCode: 0 is pass, 1 is fail",
    )
    node_selector: Labels = Field(default={}, description="labels of the nodes that it may run on")
    tolerations: tuple[Toleration, ...] = ()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[Name, ...] = Field(default=(), description="names of Secrets")
    labels: Labels = Field(default={}, description="further labels of its pods, such as those of cost reports")
    annotations: dict[LabelKey, Text] = Field(
        default={}, description="further annotations of its pods, such as those that keep a service mesh out"
    )
    pod: dict[str, Any] = Field(
        default={},
        description="a partial PodSpec merged over what KubeProbe makes: mappings key by key, lists of named things "
        "by name, other lists and values replaced, null removes",
    )

    @field_validator("labels", "annotations")
    @classmethod
    def _keys_are_not_ours(cls, given: dict[str, str]) -> dict[str, str]:
        for key in given:
            domain, slash, _ = key.rpartition("/")
            if key == LABEL_MANAGED_BY or (slash and f".{domain}".endswith(f".{OWN_DOMAIN}")):
                raise wrong(
                    f"{key!r} is reserved for KubeProbe",
                    expected=f"a key outside of {OWN_DOMAIN}, and not {LABEL_MANAGED_BY}",
                )
        return given

    @field_validator("annotations")
    @classmethod
    def _annotations_have_room(cls, annotations: dict[str, str]) -> dict[str, str]:
        size = sum(len(f"{key}{value}".encode()) for key, value in annotations.items())
        if size > _ANNOTATIONS_SIZE:
            raise wrong(f"annotations of {size} bytes", expected=f"at most {_ANNOTATIONS_SIZE} bytes altogether")
        return annotations

    @field_validator("pod")
    @classmethod
    def _known_pod_fields(cls, pod: dict[str, Any]) -> dict[str, Any]:
        for name, value in pod.items():
            if name not in _POD_FIELDS:
                raise wrong(
                    f"{name!r} is not a field of a PodSpec",
                    expected="a field of core/v1 PodSpec",
                    near=nearest_name(name, _POD_FIELDS),
                )
            if name in _OURS or (name == "containers" and value is None):
                raise wrong(f"{name} cannot be set", expected=_OURS.get(name, "a list"))
        return pod

    @model_validator(mode="after")
    def _rights_have_an_account(self) -> Self:
        if self.rbac and self.service_account_name is None:
            raise wrong("rbac without an account to give it to", expected="serviceAccountName beside it")
        return self

    @model_validator(mode="after")
    def _pod_can_be_merged(self) -> Self:
        if place := unmergeable(self.pod):
            raise wrong("pod cannot be merged", expected=f"a list of mappings at {place}")
        for container in self.pod.get("containers") or ():
            if container["name"] == PROBE_CONTAINER:
                _check_probe(container)
        return self


def _check_probe(container: dict[str, Any]) -> None:
    """What a run depends on stays KubeProbe's."""
    for field in _PROBE_OURS:
        if field in container:
            raise wrong(f"{field} of the probe container cannot be set", expected="nothing: the report uses it")
    for variable in container.get("env") or ():
        if str(variable["name"]).startswith(ENV_PREFIX):
            raise wrong(f"{variable['name']!r} is reserved", expected=f"a name that does not begin with {ENV_PREFIX}")


class ProbeTemplateDocument(Document):
    """Registers a probe image."""

    kind: Literal["ProbeTemplate"]
    spec: ProbeTemplateSpec
