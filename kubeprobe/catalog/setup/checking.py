"""Whether a cluster has what its cases need, asked without changing anything; `kubeprobe cluster check` shows it.

A dry run of a case's own pod tells of its account and of Pod Security, by rights that KubeProbe has anyway; what the
account may do is asked for where KubeProbe may ask for others.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubeprobe.catalog.render import RunIdentity, render_pod
from kubeprobe.catalog.setup.objects import Json, Place, account_of, permissions_of
from kubeprobe.catalog.setup.own import SWEEPS, Creatable
from kubeprobe.catalog.snapshot import Catalog
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.check import Finding
from kubeprobe.fleet.errors import Cause, ClusterError

_REVIEWS = "/apis/authorization.k8s.io/v1"
_SAID_OF_THE_CASE = frozenset({Cause.ADMISSION_DENIED, Cause.INVALID})
_NO_DRY_RUN = "does not support dry run"
_NAMED = 4
_RUN_ID = "00000000000000000000000000"
"""Of no run: the pod is never made."""


@dataclass(frozen=True)
class _Question:
    """Whether an account may do something."""

    text: str
    """`create pods in kubeprobe`."""
    attributes: Json


async def check_cases(api: ClusterApi, catalog: Catalog, cases: Sequence[str], place: Place) -> list[Finding]:
    """What keeps cases from running in a cluster that answers; one finding where nothing does."""
    remedy = f"kubeprobe cluster setup {place.cluster} --apply"
    told = await asyncio.gather(*(_problem(api, catalog, case, place) for case in cases))
    found = [
        Finding(f"case {case}", ok=False, found=problem, remedy=remedy)
        for case, problem in zip(cases, told, strict=True)
        if problem
    ]
    return found or [Finding("cases", ok=True, found=f"all {len(cases)} bound here have their account and rights")]


async def check_sweeping(api: ClusterApi, swept: Iterable[Creatable], place: Place) -> Finding:
    """Whether KubeProbe may remove what probes leave behind."""
    questions = [question for one in swept for question in _of_sweeping(one)]
    try:
        missing = await _not_allowed(api, "selfsubjectaccessreviews", {}, questions)
    except ClusterError as error:
        return Finding("sweeping", ok=False, found=f"cannot be asked for: {error.message}")
    if not missing:
        return Finding("sweeping", ok=True, found="may remove what killed probes leave behind")
    remedy = f"kubeprobe cluster setup {place.cluster} --own --apply (or grant these rights to KubeProbe's user)"
    found = f"what killed probes leave behind stays: may not {_listed(missing)}"
    return Finding("sweeping", ok=False, found=found, remedy=remedy)


async def _problem(api: ClusterApi, catalog: Catalog, case: str, place: Place) -> str | None:
    account = account_of(catalog, case)
    try:
        return await _refusal(api, catalog, case, place) or await _missing(api, catalog, case, place, account)
    except ClusterError as error:
        return f"cannot be found out: {error.message}"


async def _refusal(api: ClusterApi, catalog: Catalog, case: str, place: Place) -> str | None:
    """Why the cluster would not take the case's pod."""
    pod = render_pod(catalog, RunIdentity(_RUN_ID, "", case, place.cluster, "", place.namespace, place.labels))
    path = f"/api/v1/namespaces/{place.namespace}/pods"
    try:
        await api.call("POST", path, query={"dryRun": "All"}, body=pod)
    except ClusterError as error:
        if "error looking up service account" in error.message:
            return f"its ServiceAccount {place.namespace}/{account_of(catalog, case)} does not exist"
        if error.cause in _SAID_OF_THE_CASE and _NO_DRY_RUN not in error.message:
            return error.message
    return None  # all else is told by the checks of the cluster itself


async def _missing(api: ClusterApi, catalog: Catalog, case: str, place: Place, account: str | None) -> str | None:
    """What the case's account may not do though it has to."""
    if account is None:
        return None
    name = f"system:serviceaccount:{place.namespace}:{account}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{place.namespace}", "system:authenticated"]
    try:
        missing = await _not_allowed(
            api, "subjectaccessreviews", {"user": name, "groups": groups}, _of_case(catalog, case, place)
        )
    except ClusterError as error:
        if error.cause in {Cause.FORBIDDEN, Cause.NOT_FOUND}:
            return None  # KubeProbe may not ask for others, and need not
        raise
    return f"{account} may not {_listed(missing)}" if missing else None


async def _not_allowed(api: ClusterApi, reviews: str, who: Json, questions: Iterable[_Question]) -> list[str]:
    asked = list({one.text: one for one in questions}.values())
    allowed = await asyncio.gather(*(_may(api, reviews, {**who, **one.attributes}) for one in asked))
    return [one.text for one, may in zip(asked, allowed, strict=True) if not may]


async def _may(api: ClusterApi, reviews: str, spec: Json) -> bool:
    kind = "SelfSubjectAccessReview" if reviews.startswith("self") else "SubjectAccessReview"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = await api.call("POST", f"{_REVIEWS}/{reviews}", body=body)
    return bool(answer["status"]["allowed"])


def _of_sweeping(one: Creatable) -> Iterator[_Question]:
    for verb in SWEEPS:
        yield _on_resource(verb, one.group, one.resource, one.namespace)


def _of_case(catalog: Catalog, case: str, place: Place) -> Iterator[_Question]:
    """Each right of a case but those that it can do without."""
    for granted in permissions_of(catalog, case, place):
        rule = granted.permission
        if rule.optional:
            continue
        for verb in rule.verbs:
            for path in rule.non_resource_urls:
                yield _Question(f"{verb} {path}", {"nonResourceAttributes": {"path": path, "verb": verb}})
            for group in rule.api_groups:
                for resource in rule.resources:
                    for name in rule.resource_names or ("",):
                        yield _on_resource(verb, group, resource, granted.namespace, name)


def _on_resource(verb: str, group: str, resource: str, namespace: str, name: str = "") -> _Question:
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
    return _Question(f"{verb} {resource}{f' {name}' if name else ''}{where}", {"resourceAttributes": attributes})


def _listed(missing: Sequence[str]) -> str:
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return ", ".join(missing[:_NAMED]) + more
