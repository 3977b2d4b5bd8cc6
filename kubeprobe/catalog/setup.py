"""What a cluster must have before cases can run there: the namespace, ServiceAccounts, and roles of least privilege.

They follow from `rbac` in templates and cases, and from rules. Next: `kubeprobe cluster setup` prints or applies them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeprobe.catalog import names
from kubeprobe.catalog.model import Permission
from kubeprobe.catalog.render import RunIdentity, pod_spec_of, values_for
from kubeprobe.catalog.snapshot import Catalog

Json = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
ENFORCE = "pod-security.kubernetes.io/enforce"
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")
_CLUSTER = ""


@dataclass(frozen=True)
class Place:
    """The cluster that is set up, as far as roles depend on it."""

    cluster: str
    namespace: str = "kubeprobe"
    labels: Mapping[str, str] = field(default_factory=dict)


def setup_objects(catalog: Catalog, cases: Iterable[str], place: Place) -> list[Json]:
    """The objects that these cases need in a cluster, in the order of creation.

    Raises CatalogNotFoundError for a case or template that there is not.
    """
    chosen = list(dict.fromkeys(cases))
    rules: dict[str, dict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
    for case in chosen:
        account = catalog.template(catalog.case(case).template).service_account_name
        for namespace, rule in _rules(catalog, case, place):
            if account is not None and rule not in rules[account][namespace]:
                rules[account][namespace].append(rule)
    accounts = {catalog.template(catalog.case(case).template).service_account_name or "" for case in chosen} - {""}
    objects = [_namespace(catalog, chosen, place.namespace)]
    for account in sorted(accounts):
        objects.append(_object("v1", "ServiceAccount", account, place.namespace))
        for namespace, granted in sorted(rules[account].items()):
            objects += _role(account, namespace, granted, place.namespace)
    return objects


def _rules(catalog: Catalog, case: str, place: Place) -> Iterator[tuple[str, Json]]:
    """(namespace, rule) of everything that a case may do; the cluster's own rules have no namespace."""
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
                yield namespace, permission.as_rule()


def _namespaces(permission: Permission, values: Mapping[str, str], own: str) -> list[str]:
    parameter = permission.parameter
    named = values.get(parameter, "") if parameter else permission.namespace or ""
    found = [word for word in re.split(r"[,\s]+", named) if word]
    return found or [_CLUSTER if permission.scope == "cluster" else own]


def _role(account: str, namespace: str, rules: list[Json], home: str) -> list[Json]:
    """A role and its binding to the account; what is cluster-wide is named after the account's namespace too."""
    kind = "Role" if namespace else "ClusterRole"
    name = account if namespace else f"{home}:{account}"
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
    metadata["labels"] = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _namespace(catalog: Catalog, cases: Iterable[str], name: str) -> Json:
    """The probes' namespace, enforcing the strictest Pod Security Standard that all of their pods comply with."""
    found = _object("v1", "Namespace", name)
    found["metadata"]["labels"][ENFORCE] = (
        "restricted" if all(is_restricted(pod_spec_of(catalog, case)) for case in cases) else "privileged"
    )
    return found


def is_restricted(spec: Mapping[str, Any]) -> bool:
    """Whether a pod complies with `restricted`, as far as a template can depart from what KubeProbe makes.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    if any(spec.get(key) for key in _HOST_FIELDS) or any("hostPath" in volume for volume in spec.get("volumes") or ()):
        return False
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    return all(_is_confined(container.get("securityContext") or {}, spec) for container in containers)


def _is_confined(security: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    pod = spec.get("securityContext") or {}
    user = security.get("runAsUser", pod.get("runAsUser"))
    capabilities = security.get("capabilities") or {}
    return (
        not security.get("privileged")
        and security.get("allowPrivilegeEscalation") is False
        and set(capabilities.get("add") or ()) <= {"NET_BIND_SERVICE"}
        and "ALL" in (capabilities.get("drop") or ())
        and security.get("runAsNonRoot", pod.get("runAsNonRoot")) is True
        and user != 0
    )
