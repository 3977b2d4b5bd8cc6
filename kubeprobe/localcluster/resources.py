"""The resources of a cluster: the built-in ones, and those that CustomResourceDefinitions add."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as it appears in paths, responses and error messages."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    status: bool = False
    """Whether it has a /status subresource."""
    returns_deleted: bool = False
    """Whether DELETE returns the object's last state; otherwise it returns a Status."""
    create_only: bool = False
    """A review: answered, not stored."""
    qualified: str = field(init=False)
    api_version: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive once the names that every request uses."""
        object.__setattr__(self, "qualified", f"{self.plural}.{self.group}" if self.group else self.plural)
        version = f"{self.group}/{self.version}" if self.group else self.version
        object.__setattr__(self, "api_version", version)

    @property
    def singular(self) -> str:
        """The kind in lower case, as kubectl accepts it."""
        return self.kind.lower()

    def discovery(self) -> Iterator[dict[str, Any]]:
        """Its entries in an APIResourceList."""
        entry: dict[str, Any] = {
            "name": self.plural,
            "singularName": self.singular,
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": ["create"] if self.create_only else list(VERBS),
        }
        yield {
            **entry,
            **({"shortNames": list(self.short_names)} if self.short_names else {}),
            **({"categories": ["all"]} if self in (PODS, SERVICES) else {}),
        }
        for subresource in ("status",) if self.status else ():
            verbs = ["get", "patch", "update"]
            yield {**entry, "name": f"{self.plural}/{subresource}", "singularName": "", "verbs": verbs}
        if self is PODS:
            yield {**entry, "name": "pods/log", "singularName": "", "verbs": ["get"]}


def _core(plural: str, kind: str, *short: str, **more: bool) -> Resource:
    return Resource("", "v1", plural, kind, short_names=short, **more)


_RBAC = "rbac.authorization.k8s.io"
_REVIEWS = "authorization.k8s.io"

PODS = _core("pods", "Pod", "po", status=True, returns_deleted=True)
NAMESPACES = _core("namespaces", "Namespace", "ns", namespaced=False, status=True)
NODES = _core("nodes", "Node", "no", namespaced=False, status=True)
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", "sa", returns_deleted=True)
SECRETS = _core("secrets", "Secret")
CONFIG_MAPS = _core("configmaps", "ConfigMap", "cm")
EVENTS = _core("events", "Event", "ev")
RESOURCE_QUOTAS = _core("resourcequotas", "ResourceQuota", "quota", status=True, returns_deleted=True)
SERVICES = _core("services", "Service", "svc", status=True, returns_deleted=True)
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition",
    namespaced=False, short_names=("crd", "crds"), status=True,
)  # fmt: skip
ACCESS_REVIEWS = Resource(
    _REVIEWS, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False, create_only=True
)
RULES_REVIEWS = Resource(
    _REVIEWS, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False, create_only=True
)

BUILT_IN: tuple[Resource, ...] = (
    PODS,
    NAMESPACES,
    NODES,
    SERVICE_ACCOUNTS,
    SECRETS,
    CONFIG_MAPS,
    EVENTS,
    RESOURCE_QUOTAS,
    SERVICES,
    _core("endpoints", "Endpoints", "ep"),
    CRDS,
    ACCESS_REVIEWS,
    RULES_REVIEWS,
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource(_RBAC, "v1", "roles", "Role"),
    Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
)

_BUILT_IN_BY_PATH = {(r.group, r.version, r.plural): r for r in BUILT_IN}


class ResourceTable:
    """The kinds of one cluster. Clusters without custom resources share the built-in ones."""

    def __init__(self) -> None:
        self._custom: dict[tuple[str, str, str], Resource] = {}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource of a path, if there is one."""
        key = (group, version, plural)
        return _BUILT_IN_BY_PATH.get(key) or self._custom.get(key)

    def all(self) -> Iterator[Resource]:
        """Every resource, built-in ones first."""
        yield from BUILT_IN
        yield from self._custom.values()

    def stored(self) -> dict[str, Resource]:
        """One resource per kind that is stored, by its qualified name."""
        return {r.qualified: r for r in self.all() if not r.create_only}

    def has_group(self, group: str, version: str) -> bool:
        """Whether any resource has this API group and version."""
        return any(r.group == group and r.version == version for r in self.all())

    def define(self, definition: dict[str, Any]) -> None:
        """Add the kinds of a CustomResourceDefinition, one per served version."""
        spec = definition["spec"]
        names = spec["names"]
        for version in spec["versions"]:
            if not version.get("served", True):
                continue
            resource = Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                namespaced=spec.get("scope") == "Namespaced",
                short_names=tuple(names.get("shortNames", ())),
                status="status" in version.get("subresources", {}),
            )
            self._custom[(resource.group, resource.version, resource.plural)] = resource

    def forget(self, definition: dict[str, Any]) -> None:
        """Remove what `define` added."""
        spec = definition["spec"]
        for version in spec["versions"]:
            self._custom.pop((spec["group"], version["name"], spec["names"]["plural"]), None)
