"""The kinds of kubeprobe.io/v1 as pydantic models. Next: `parse` reads YAML into them."""

from collections.abc import Mapping
from types import MappingProxyType

from kubeprobe.catalog.model.base import Document, LabelSelector, Spec, format_duration, parse_duration
from kubeprobe.catalog.model.binding import BindingDocument, BindingSpec, ClusterChoice, Periodic
from kubeprobe.catalog.model.case import ProbeCaseDocument, ProbeCaseSpec, RenderConfigDocument, RenderConfigSpec
from kubeprobe.catalog.model.cluster import ClusterDocument, ClusterSpec, ConnectionSpec
from kubeprobe.catalog.model.nodes import NodeChoice
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.model.route import AlertRouteDocument, AlertRouteSpec, RouteTarget
from kubeprobe.catalog.model.rule import Rule
from kubeprobe.catalog.model.template import ProbeTemplateDocument, ProbeTemplateSpec

DOCUMENTS: Mapping[str, type[Document]] = MappingProxyType(
    {
        "Cluster": ClusterDocument,
        "ProbeTemplate": ProbeTemplateDocument,
        "ProbeCase": ProbeCaseDocument,
        "RenderConfig": RenderConfigDocument,
        "Binding": BindingDocument,
        "AlertRoute": AlertRouteDocument,
    }
)
"""Every kind; those that are referred to come first."""
KUBERNETES_FIELDS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "ProbeTemplate": tuple(("spec", name) for name in ("pod", "tolerations", "nodeSelector", "resources", "rbac")),
        "ProbeCase": (("spec", "rbac"),),
    }
)
"""By kind: the fields that hold Kubernetes objects or parts of them, written as for kubectl."""

__all__ = [
    "DOCUMENTS",
    "KUBERNETES_FIELDS",
    "AlertRouteDocument",
    "AlertRouteSpec",
    "BindingDocument",
    "BindingSpec",
    "ClusterChoice",
    "ClusterDocument",
    "ClusterSpec",
    "ConnectionSpec",
    "Document",
    "LabelSelector",
    "NodeChoice",
    "Periodic",
    "Permission",
    "ProbeCaseDocument",
    "ProbeCaseSpec",
    "ProbeTemplateDocument",
    "ProbeTemplateSpec",
    "RenderConfigDocument",
    "RenderConfigSpec",
    "RouteTarget",
    "Rule",
    "Spec",
    "format_duration",
    "parse_duration",
]
