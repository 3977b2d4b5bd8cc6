"""What a cluster must have before cases can run there: the namespace, ServiceAccounts, and roles of least privilege.

They follow from `rbac` in templates and cases, and from rules. Next: `own` adds what KubeProbe itself needs.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeprobe import vocabulary
from kubeprobe.catalog.model import Permission
from kubeprobe.catalog.render import RunIdentity, pod_spec_of, values_for
from kubeprobe.catalog.setup.security import ENFORCE, is_restricted
from kubeprobe.catalog.snapshot import Catalog

Json = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
_CLUSTER = ""


@dataclass(frozen=True)
class Place:
    """The cluster that is set up, as far as roles depend on it."""

    cluster: str
    namespace: str = "kubeprobe"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Granted:
    """A permission of a case, and where it holds: a namespace, or nothing for the whole cluster."""

    namespace: str
    permission: Permission


def cases_bound_to(catalog: Catalog, place: Place) -> list[str]:
    """The cases that bindings run on a cluster, paused ones too."""
    bound = (
        case
        for binding in catalog.bindings.values()
        if binding.clusters.matches(place.cluster, place.labels)
        for case in binding.cases
    )
    return sorted(set(bound))


def setup_objects(catalog: Catalog, cases: Iterable[str], place: Place, beside: Iterable[str] = ()) -> list[Json]:
    """The objects that these cases need in a cluster, in the order of creation.

    Cases that run there `beside` them lose nothing: the namespace admits their pods, and the roles of a ServiceAccount
    that they share hold what they need. Raises CatalogNotFoundError for a case or template that there is not.
    """
    chosen, others = list(dict.fromkeys(cases)), list(dict.fromkeys(beside))
    accounts = {account_of(catalog, case) or "" for case in chosen} - {""}
    sharing = [case for case in others if case not in chosen and account_of(catalog, case) in accounts]
    rules: dict[str, dict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
    for case in (*chosen, *sharing):
        account = account_of(catalog, case)
        for granted in permissions_of(catalog, case, place):
            rule = granted.permission.as_rule()
            if account is not None and rule not in rules[account][granted.namespace]:
                rules[account][granted.namespace].append(rule)
    objects = [_namespace(catalog, (*chosen, *others), place.namespace)]
    for account in sorted(accounts):
        objects += account_with_roles(account, rules[account], place.namespace)
    return objects


def account_of(catalog: Catalog, case: str) -> str | None:
    """The ServiceAccount of a case's pods; None where they have no token."""
    return catalog.template(catalog.case(case).template).service_account_name


def permissions_of(catalog: Catalog, case: str, place: Place) -> Iterator[Granted]:
    """Everything that a case may do in a cluster, by hand or by any of its bindings there."""
    spec = catalog.case(case)
    permissions = (*catalog.template(spec.template).rbac, *spec.rbac, *(rule.permission for rule in spec.rules))
    bound = [
        name
        for name, binding in catalog.bindings.items()
        if case in binding.cases and binding.clusters.matches(place.cluster, place.labels)
    ]
    for binding in (None, *bound):
        identity = RunIdentity("", "", case, place.cluster, "", place.namespace, place.labels, binding)
        values = values_for(catalog, identity)
        for permission in permissions:
            for namespace in _namespaces(permission, values, place.namespace):
                yield Granted(namespace, permission)


def account_with_roles(account: str, rules: Mapping[str, list[Json]], home: str) -> Iterator[Json]:
    """A ServiceAccount, and its rules by the namespace where they hold (none: the whole cluster)."""
    yield _object("v1", "ServiceAccount", account, home)
    for namespace, granted in sorted(rules.items()):
        yield from _role(account, namespace, granted, home)


def _namespaces(permission: Permission, values: Mapping[str, str], own: str) -> list[str]:
    parameter = permission.parameter
    named = values.get(parameter, "") if parameter else permission.namespace or ""
    found = [word for word in re.split(r"[,\s]+", named) if word]
    return found or [_CLUSTER if permission.scope == "cluster" else own]


def _role(account: str, namespace: str, rules: list[Json], home: str) -> list[Json]:
    """A role and its binding to the account; outside the account's namespace it is named after that too.

    So two installations on one cluster, in namespaces of their own, do not take each other's roles for theirs.
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
    """The probes' namespace, enforcing the strictest Pod Security Standard that all of their pods comply with."""
    found = _object("v1", "Namespace", name)
    found["metadata"]["labels"][ENFORCE] = (
        "restricted" if all(is_restricted(pod_spec_of(catalog, case)) for case in cases) else "privileged"
    )
    return found
