"""Checks whether a cluster has what its cases need, without changing anything; shown by `kubeprobe cluster check`.

A dry-run creation of a case's pod checks its ServiceAccount and Pod Security, with permissions that KubeProbe has
anyway. The account's own permissions are checked if KubeProbe may create SubjectAccessReviews.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from kubeprobe.catalog.policy import PolicyError, TemplatePolicy
from kubeprobe.catalog.render import RunIdentity, render_pod
from kubeprobe.catalog.setup.objects import Json, TargetCluster, account_of, permissions_of
from kubeprobe.catalog.setup.own_account import SWEEP_VERBS, Creatable
from kubeprobe.catalog.snapshot import Catalog, CatalogUnreadableError
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.check import Finding
from kubeprobe.fleet.errors import Cause, ClusterError

_REVIEWS = "/apis/authorization.k8s.io/v1"
_CAUSED_BY_THE_CASE = frozenset({Cause.ADMISSION_DENIED, Cause.INVALID})
_STRICT_DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
"""Strict: a field that this cluster's version does not have is an error, and not dropped."""
_NO_DRY_RUN = "does not support dry run"
_MAX_NAMED = 4
_RUN_ID = "00000000000000000000000000"
"""Placeholder: the pod is never created."""


@dataclass(frozen=True)
class _Access:
    """An action that an account may or may not be allowed to do."""

    text: str
    """`create pods in kubeprobe`."""
    attributes: Json


async def check_cases(
    api: ClusterApi, catalog: Catalog, cases: Sequence[str], target: TargetCluster, policy: TemplatePolicy
) -> list[Finding]:
    """A finding for each case that cannot run in a reachable cluster; a single good one if all can.

    `policy`: that of launchers, which create no pod that it does not allow.
    """
    found = list(filter(None, await asyncio.gather(*(_problem(api, catalog, case, target, policy) for case in cases))))
    return found or [Finding("cases", ok=True, found=f"all {len(cases)} bound cases have account and permissions")]


async def check_sweep_permissions(api: ClusterApi, swept: Iterable[Creatable], target: TargetCluster) -> Finding:
    """Whether KubeProbe may list and delete the objects that killed probes leave behind."""
    needed = [access for one in swept for access in _sweep_access(one)]
    try:
        missing = await _denied(api, "selfsubjectaccessreviews", {}, needed)
    except ClusterError as error:
        return Finding("sweeping", ok=False, found=f"permissions cannot be checked: {error.message}")
    if not missing:
        return Finding("sweeping", ok=True, found="can remove orphaned objects of killed probes")
    remedy = f"kubeprobe cluster setup {target.name} --own --apply (or grant these permissions to KubeProbe's user)"
    found = f"cannot remove orphaned objects of killed probes: may not {_listed(missing)}"
    return Finding("sweeping", ok=False, found=found, remedy=remedy)


async def _problem(
    api: ClusterApi, catalog: Catalog, case: str, target: TargetCluster, policy: TemplatePolicy
) -> Finding | None:
    check, remedy = f"case {case}", f"kubeprobe cluster setup {target.name} --apply"
    try:
        account = account_of(catalog, case)
        identity = RunIdentity(_RUN_ID, "", case, target.name, "", target.namespace, target.labels)
        pod = render_pod(catalog, identity, policy)
        problem = await _refusal(api, pod, target, account) or await _missing(api, catalog, case, target, account)
    except ClusterError as error:
        problem = f"cannot be checked: {error.message}"
    except (CatalogUnreadableError, PolicyError) as error:  # its text has the remedy
        return Finding(check, ok=False, found=str(error))
    return Finding(check, ok=False, found=problem, remedy=remedy) if problem else None


async def _refusal(api: ClusterApi, pod: Json, target: TargetCluster, account: str | None) -> str | None:
    """Why the cluster would reject the case's pod."""
    path = f"/api/v1/namespaces/{target.namespace}/pods"
    try:
        await api.call("POST", path, query=_STRICT_DRY_RUN, body=pod)
    except ClusterError as error:
        if "error looking up service account" in error.message:
            return f"its ServiceAccount {target.namespace}/{account} does not exist"
        if error.cause in _CAUSED_BY_THE_CASE and _NO_DRY_RUN not in error.message:
            return error.message
    return None  # other errors are reported by the checks of the cluster itself


async def _missing(
    api: ClusterApi, catalog: Catalog, case: str, target: TargetCluster, account: str | None
) -> str | None:
    """Which permissions the case's account lacks."""
    if account is None:
        return None
    name = f"system:serviceaccount:{target.namespace}:{account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{target.namespace}", "system:authenticated"]
    try:
        missing = await _denied(
            api, "subjectaccessreviews", {"user": name, "groups": groups}, _case_access(catalog, case, target)
        )
    except ClusterError as error:
        if error.cause in {Cause.FORBIDDEN, Cause.NOT_FOUND}:
            return None  # KubeProbe may not create SubjectAccessReviews, which is optional
        raise
    return f"{account} may not {_listed(missing)}" if missing else None


async def _denied(api: ClusterApi, reviews: str, user: Json, needed: Iterable[_Access]) -> list[str]:
    distinct = list({access.text: access for access in needed}.values())
    allowed = await asyncio.gather(*(_may(api, reviews, {**user, **access.attributes}) for access in distinct))
    return [access.text for access, may in zip(distinct, allowed, strict=True) if not may]


async def _may(api: ClusterApi, reviews: str, spec: Json) -> bool:
    kind = "SelfSubjectAccessReview" if reviews.startswith("self") else "SubjectAccessReview"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = await api.call("POST", f"{_REVIEWS}/{reviews}", body=body)
    return bool(answer["status"]["allowed"])


def _sweep_access(one: Creatable) -> Iterator[_Access]:
    for verb in SWEEP_VERBS:
        yield _resource_access(verb, one.group, one.resource, one.namespace)


def _case_access(catalog: Catalog, case: str, target: TargetCluster) -> Iterator[_Access]:
    """Each permission of a case that is not optional."""
    for grant in permissions_of(catalog, case, target):
        rule = grant.permission
        if rule.optional:
            continue
        for verb, path in product(rule.verbs, rule.non_resource_urls):
            yield _Access(f"{verb} {path}", {"nonResourceAttributes": {"path": path, "verb": verb}})
        names = rule.resource_names or ("",)
        for verb, group, resource, name in product(rule.verbs, rule.api_groups, rule.resources, names):
            yield _resource_access(verb, group, resource, grant.namespace, name)


def _resource_access(verb: str, group: str, resource: str, namespace: str, name: str = "") -> _Access:
    plain, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": plain,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    where = f" in {namespace}" if namespace else ""
    return _Access(f"{verb} {resource}{f' {name}' if name else ''}{where}", {"resourceAttributes": attributes})


def _listed(missing: Sequence[str]) -> str:
    more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
    return ", ".join(missing[:_MAX_NAMED]) + more
