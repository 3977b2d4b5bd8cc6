"""The objects that cases need in a cluster: the namespace, ServiceAccounts, and roles of least privilege.

They are derived from `rbac` in templates and cases, and from rules. Next: `own_account` adds KubeProbe's own account.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeprobe import vocabulary
from kubeprobe.catalog.model import Permission
from kubeprobe.catalog.render import RunIdentity, values_for
from kubeprobe.catalog.setup.pod_security import ENFORCE, security_of, strictest_level
from kubeprobe.catalog.snapshot import Catalog

Json = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
_CLUSTER = ""


@dataclass(frozen=True)
class TargetCluster:
    """The properties of a cluster that roles depend on."""

    name: str
    namespace: str = "kubeprobe"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    """A permission of a case, and the namespace in which it is granted; empty: in the whole cluster."""

    namespace: str
    permission: Permission


def cases_bound_to(catalog: Catalog, target: TargetCluster) -> list[str]:
    """The cases that bindings, including paused ones, run on a cluster."""
    bound = (
        case
        for binding in catalog.bindings.values()
        if binding.clusters.matches(target.name, target.labels)
        for case in binding.cases
    )
    return sorted(set(bound))


def setup_objects(
    catalog: Catalog, cases: Iterable[str], target: TargetCluster, also_bound: Iterable[str] = ()
) -> list[Json]:
    """The objects that these cases need in a cluster, in the order of creation.

    Cases that are `also_bound` there keep working: the namespace admits their pods, and the roles of a ServiceAccount
    that they share include their permissions. Raises CatalogNotFoundError for an unknown case or template.
    """
    chosen, others = list(dict.fromkeys(cases)), list(dict.fromkeys(also_bound))
    accounts = {account_of(catalog, case) or "" for case in chosen} - {""}
    sharing = [case for case in others if case not in chosen and account_of(catalog, case) in accounts]
    rules: dict[str, dict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
    for case in (*chosen, *sharing):
        account = account_of(catalog, case)
        for grant in permissions_of(catalog, case, target):
            rule = grant.permission.as_rule()
            if account is not None and rule not in rules[account][grant.namespace]:
                rules[account][grant.namespace].append(rule)
    objects = [_namespace(catalog, (*chosen, *others), target.namespace)]
    for account in sorted(accounts):
        objects += account_with_roles(account, rules[account], target.namespace)
    return objects


def account_of(catalog: Catalog, case: str) -> str | None:
    """The ServiceAccount of a case's pods; None if they get no token."""
    return catalog.template(catalog.case(case).template).service_account_name


def permissions_of(catalog: Catalog, case: str, target: TargetCluster) -> Iterator[Grant]:
    """All permissions of a case in a cluster, for manual runs and for each of its bindings there."""
    spec = catalog.case(case)
    permissions = (*catalog.template(spec.template).rbac, *spec.rbac, *(rule.permission for rule in spec.rules))
    bound = [
        name
        for name, binding in catalog.bindings.items()
        if case in binding.cases and binding.clusters.matches(target.name, target.labels)
    ]
    for binding in (None, *bound):
        identity = RunIdentity("", "", case, target.name, "", target.namespace, target.labels, binding)
        values = values_for(catalog, identity)
        for permission in permissions:
            for namespace in _namespaces(permission, values, target.namespace):
                yield Grant(namespace, permission)


def account_with_roles(account: str, rules: Mapping[str, list[Json]], home: str) -> Iterator[Json]:
    """A ServiceAccount in namespace `home`, with its rules by namespace (empty: the whole cluster)."""
    yield _object("v1", "ServiceAccount", account, home)
    for namespace, in_namespace in sorted(rules.items()):
        yield from _role(account, namespace, in_namespace, home)


def _namespaces(permission: Permission, values: Mapping[str, str], own: str) -> list[str]:
    parameter = permission.parameter
    named = values.get(parameter, "") if parameter else permission.namespace or ""
    found = [word for word in re.split(r"[,\s]+", named) if word]
    return found or [_CLUSTER if permission.scope == "cluster" else own]


def _role(account: str, namespace: str, rules: list[Json], home: str) -> list[Json]:
    """A role and its binding to the account. Outside the account's namespace, its name includes that namespace.

    So the roles of two installations in different namespaces of one cluster have different names.
    """
    kind = "Role" if namespace else "ClusterRole"
    name = account if namespace == home else f"{home}:{account}"
    subject = {"kind": "ServiceAccount", "name": account, "namespace": home}
    return [
        {**_object(f"{RBAC}/v1", kind, name, namespace), "rules": rules},
        {
            **_object(f"{RBAC}/v1", f"{kind}Binding", name, namespace),
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
            "subjects": [subject],
        },
    ]


def _object(version: str, kind: str, name: str, namespace: str = "") -> Json:
    metadata: Json = {"name": name, **({"namespace": namespace} if namespace else {})}
    metadata["labels"] = {vocabulary.LABEL_MANAGED_BY: vocabulary.MANAGED_BY}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _namespace(catalog: Catalog, cases: Iterable[str], name: str) -> Json:
    """The probes' namespace, which enforces the strictest Pod Security Standard that all their pods comply with."""
    found = _object("v1", "Namespace", name)
    found["metadata"]["labels"][ENFORCE] = strictest_level(security_of(catalog, case) for case in cases)
    return found
