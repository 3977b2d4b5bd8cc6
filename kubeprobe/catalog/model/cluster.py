"""Cluster: a Kubernetes cluster that is declared in the catalog."""

from typing import Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema

from kubeprobe.catalog.model.base import Document, Labels, Name, Spec
from kubeprobe.catalog.problems import invalid, nearest_name
from kubeprobe.vocabulary import DEFAULT_MAX_IN_FLIGHT

_WITHOUT_VALUES = ("inCluster", "local")


class KubeconfigSource(Spec):
    """A kubeconfig file, read when the catalog is applied and kept encrypted in the store."""

    file: str = Field(min_length=1, description="path, relative to the YAML file that names it")
    context: str | None = Field(default=None, description="context in the file; default: its current context")


class ConnectionSpec(Spec):
    """How the cluster is reached: `{kubeconfig: {file, context}}`, `inCluster` or `local`."""

    kubeconfig: KubeconfigSource | None = None
    in_cluster: bool | None = Field(default=None, description="the cluster that KubeProbe itself runs in")
    local: bool | None = Field(default=None, description="the local cluster that `kubeprobe up` starts")

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in _WITHOUT_VALUES:
            raise invalid(
                f"{value!r} is not a connection",
                expected="inCluster, local or {kubeconfig: {file: .., context: ..}}",
                near=nearest_name(value, _WITHOUT_VALUES),
            )
        return {value: True}

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(map(bool, (self.kubeconfig, self.in_cluster, self.local))) != 1:
            raise invalid(
                "a connection needs exactly one of its fields", expected="one of kubeconfig, inCluster and local"
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Editors suggest the strings as well as the mapping."""
        mapping = handler.resolve_ref_schema(handler(core))
        described = {"title": mapping.pop("title"), "description": mapping.pop("description")}
        return {**described, "oneOf": [{"enum": list(_WITHOUT_VALUES)}, mapping]}

    @property
    def kind(self) -> Literal["kubeconfig", "inCluster", "local"]:
        """The type of connection."""
        if self.kubeconfig:
            return "kubeconfig"
        return "inCluster" if self.in_cluster else "local"

    @model_serializer(mode="plain")
    def _as_written(self) -> str | dict[str, Any]:
        return {"kubeconfig": self.kubeconfig.as_json()} if self.kubeconfig else self.kind


class ClusterLimits(Spec):
    """Limits on KubeProbe's use of a cluster."""

    pods: int = Field(
        default=DEFAULT_MAX_IN_FLIGHT, ge=1, le=10_000, description="maximum number of concurrent probe pods"
    )


class ClusterSpec(Spec):
    """A Kubernetes cluster: labels, pool, limits and connection."""

    labels: Labels = Field(default={}, description="labels for selectors, such as region: eu")
    pool: Name = Field(default="default", description="the workers that serve it; one queue each")
    namespace: Name = Field(default="kubeprobe", description="where probe pods are created")
    limits: ClusterLimits = ClusterLimits()
    connection: ConnectionSpec


class ClusterDocument(Document):
    """Declares a cluster. A cluster that was added with `kubeprobe cluster add` needs no document."""

    kind: Literal["Cluster"]
    spec: ClusterSpec
