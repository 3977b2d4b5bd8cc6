"""What KubeProbe itself needs in a cluster: to run pods there, and to remove what killed probes left behind.

Next: `applying` brings it there; `execution.leftovers` sweeps what `creatable` names.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubeprobe.catalog.setup.objects import Json, Place, account_with_roles, permissions_of
from kubeprobe.catalog.snapshot import Catalog
from kubeprobe.fleet.check import NEEDED

OWN_ACCOUNT = "kubeprobe"
SWEEPS = ("list", "delete")
_NOT_KEPT = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Groups whose objects are questions: answered, and not stored."""
_CLUSTER_RULES: tuple[Json, ...] = (
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},  # bindings with `nodes:`
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},  # `cluster check`
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},  # the same
)


@dataclass(frozen=True, order=True)
class Creatable:
    """A kind of thing that a probe may create, and so may leave behind, and where: a namespace, or everywhere."""

    group: str
    resource: str
    namespace: str = ""

    @property
    def qualified(self) -> str:
        """As kubectl names it: `deployments.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def creatable(catalog: Catalog, cases: Iterable[str], place: Place) -> list[Creatable]:
    """All that these cases may create in a cluster; where something may be created everywhere, only that."""
    found = {
        Creatable(group, resource, granted.namespace)
        for case in cases
        for granted in permissions_of(catalog, case, place)
        if "create" in granted.permission.verbs
        for group in granted.permission.api_groups
        for resource in granted.permission.resources
        if "/" not in resource and "*" not in (group, resource) and group not in _NOT_KEPT
    }
    return sorted(one for one in found if not one.namespace or Creatable(one.group, one.resource) not in found)


def own_objects(swept: Iterable[Creatable], place: Place) -> list[Json]:
    """KubeProbe's own account and roles in a cluster: pods in its namespace, and what it sweeps up."""
    rules: dict[str, list[Json]] = defaultdict(list)
    rules[place.namespace] += _pod_rules()
    rules[""] += _CLUSTER_RULES
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in swept:
        groups[one.namespace, one.group].append(one.resource)
    for (namespace, group), resources in sorted(groups.items()):
        rules[namespace].append({"apiGroups": [group], "resources": resources, "verbs": list(SWEEPS)})
    return list(account_with_roles(OWN_ACCOUNT, rules, place.namespace))


def _pod_rules() -> list[dict[str, Any]]:
    verbs: dict[str, list[str]] = defaultdict(list)
    for verb, resource, subresource in NEEDED:
        verbs[f"{resource}/{subresource}" if subresource else resource].append(verb)
    return [{"apiGroups": [""], "resources": [what], "verbs": needed} for what, needed in verbs.items()]
