"""KubeProbe's own account in a cluster: permissions to run pods, and to remove objects that killed probes left behind.

Next: `apply` creates it; `execution.leftovers` sweeps the kinds that `creatable` returns.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubeprobe.catalog.setup.objects import Json, TargetCluster, account_with_roles, permissions_of
from kubeprobe.catalog.snapshot import Catalog
from kubeprobe.fleet.check import NEEDED

OWN_ACCOUNT = "kubeprobe"
SWEEP_VERBS = ("list", "delete")
_NOT_STORED = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Groups whose objects are requests that the API server answers and does not store."""
_CLUSTER_RULES: tuple[Json, ...] = (
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},  # bindings with `nodes:`
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},  # `cluster check`
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},  # the same
)


@dataclass(frozen=True, order=True)
class Creatable:
    """A resource that a probe may create, and so may leave behind, in a namespace (empty: in the whole cluster)."""

    group: str
    resource: str
    namespace: str = ""

    @property
    def qualified(self) -> str:
        """As kubectl names it: `deployments.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def creatable(catalog: Catalog, cases: Iterable[str], target: TargetCluster) -> list[Creatable]:
    """All resources that these cases may create in a cluster; a cluster-wide one replaces those of namespaces."""
    found = {
        Creatable(group, resource, grant.namespace)
        for case in cases
        for grant in permissions_of(catalog, case, target)
        if "create" in grant.permission.verbs
        for group in grant.permission.api_groups
        for resource in grant.permission.resources
        if "/" not in resource and "*" not in (group, resource) and group not in _NOT_STORED
    }
    return sorted(one for one in found if not one.namespace or Creatable(one.group, one.resource) not in found)


def own_objects(swept: Iterable[Creatable], target: TargetCluster) -> list[Json]:
    """KubeProbe's own account and roles in a cluster: pods in its namespace, and the resources that it sweeps."""
    rules: dict[str, list[Json]] = defaultdict(list)
    rules[target.namespace] += _pod_rules()
    rules[""] += _CLUSTER_RULES
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in swept:
        groups[one.namespace, one.group].append(one.resource)
    for (namespace, group), resources in sorted(groups.items()):
        rules[namespace].append({"apiGroups": [group], "resources": resources, "verbs": list(SWEEP_VERBS)})
    return list(account_with_roles(OWN_ACCOUNT, rules, target.namespace))


def _pod_rules() -> list[dict[str, Any]]:
    verbs: dict[str, list[str]] = defaultdict(list)
    for verb, resource, subresource in NEEDED:
        verbs[f"{resource}/{subresource}" if subresource else resource].append(verb)
    return [{"apiGroups": [""], "resources": [what], "verbs": needed} for what, needed in verbs.items()]
