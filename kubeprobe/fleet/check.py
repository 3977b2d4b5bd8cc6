"""Checks of a cluster: what prevents probes from running there, and how to fix it.

Each check runs by itself, so that one result does not hide the others. But an unreachable cluster is not checked any
further, and no pod is started that could not be deleted.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from kubeprobe.clock import Clock, utc_now
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.check_pod import ImageTrial, try_image
from kubeprobe.fleet.errors import UNANSWERED, Cause, ClusterError
from kubeprobe.fleet.transport import Request
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.vocabulary import PROBE_CONTAINER

ALLOWED_SKEW = timedelta(seconds=5)
NEEDED = (
    ("create", "pods", ""),
    ("get", "pods", ""),
    ("list", "pods", ""),
    ("watch", "pods", ""),
    ("delete", "pods", ""),
    ("get", "pods", "log"),
)
"""Verb, resource, subresource: the rights that KubeProbe itself needs in a cluster."""
NODE_VERBS = ("list", "watch")
"""The rights on nodes that it needs, cluster-wide."""
_NAMESPACE_EXISTS = frozenset({Cause.ADMISSION_DENIED, Cause.QUOTA_EXCEEDED, Cause.INVALID})
"""Causes of a rejected pod that imply that its namespace exists."""
_TRIAL_VERBS = frozenset({"create", "watch", "list", "delete"})


@dataclass(frozen=True)
class Finding(JsonModel):
    """The result of one check."""

    check: str
    ok: bool
    found: str
    """The problem, or what was found instead: a version, a measure."""
    remedy: str = ""
    """How to fix the problem."""


async def check_cluster(
    api: ClusterApi,
    namespace: str,
    trial: ImageTrial | None = None,
    clock: Clock = utc_now,
    *,
    watches_nodes: bool = False,
) -> list[Finding]:
    """Run all checks. `trial`: the image to start; None: no pod is started.

    `watches_nodes`: a binding with `nodes` matches the cluster, so that KubeProbe needs to list its nodes.
    """
    reachable, *about = await _reach(api)
    if not reachable.ok:
        return [reachable]
    clocks, space, permissions = await asyncio.gather(
        _check_clock(api, clock), _check_namespace(api, namespace), _check_permissions(api, namespace)
    )
    findings = [reachable, *about, clocks, space, permissions.finding]
    if watches_nodes:
        findings.append(await _check_nodes(api))
    if trial is not None:
        findings.append(await _check_image(api, namespace, trial, permissions.missing))
    return findings


async def _reach(api: ClusterApi) -> list[Finding]:
    """Whether the API server responds, and its version."""
    try:
        version = Finding("version", ok=True, found=await api.version())
    except ClusterError as error:
        if error.cause in UNANSWERED or error.cause is Cause.UNAUTHORIZED:
            return [Finding("reachable", ok=False, found=error.message, remedy=_REMEDIES[error.cause])]
        version = Finding("version", ok=False, found=f"cannot be read: {error.message}")
    return [Finding("reachable", ok=True, found="the API server responds"), version]


async def _check_clock(api: ClusterApi, clock: Clock) -> Finding:
    """Compare our clock with the Date of a response (RFC 9110), taken as that of the middle of the request."""
    before = clock()
    try:
        date = (await api.send(Request("GET", "/version"))).headers.get("Date")
    except ClusterError as error:
        return Finding("clock", ok=False, found=f"cannot be compared: {error.message}")
    if date is None:
        return Finding("clock", ok=False, found="cannot be compared: its responses have no Date header")
    try:
        # The header has whole seconds: on average half a second is cut off.
        theirs = parsedate_to_datetime(date).astimezone(UTC) + timedelta(seconds=0.5)
    except (ValueError, OverflowError):
        return Finding("clock", ok=False, found="cannot be compared: the Date header of its responses is not a date")
    return _judge_skew(theirs - (before + (clock() - before) / 2))


def _judge_skew(skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    if abs(skew) <= ALLOWED_SKEW:
        return Finding("clock", ok=True, found="agrees with ours")
    found = f"its clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    return Finding("clock", ok=False, found=found, remedy="synchronise both clocks (NTP): deadlines depend on them")


async def _check_namespace(api: ClusterApi, namespace: str) -> Finding:
    remedy = f"kubeprobe cluster setup {api.cluster} --apply, or kubectl create namespace {namespace}"
    try:
        found = await api.call("GET", f"/api/v1/namespaces/{namespace}")
    except ClusterError as error:
        if error.cause is Cause.FORBIDDEN:  # KubeProbe does not need to read namespaces
            return await _check_namespace_by_dry_run(api, namespace, remedy)
        if error.cause in {Cause.NOT_FOUND, Cause.NAMESPACE_MISSING}:
            return Finding("namespace", ok=False, found=f"namespace {namespace} does not exist", remedy=remedy)
        return Finding("namespace", ok=False, found=error.message)
    status = found.get("status")
    if isinstance(status, dict) and status.get("phase") == "Terminating":
        return Finding("namespace", ok=False, found=f"namespace {namespace} is being deleted", remedy=remedy)
    return Finding("namespace", ok=True, found=f"{namespace} exists")


async def _check_namespace_by_dry_run(api: ClusterApi, namespace: str, remedy: str) -> Finding:
    pod: dict[str, Any] = {
        "metadata": {"generateName": "kubeprobe-check-"},
        "spec": {"containers": [{"name": PROBE_CONTAINER, "image": "none"}]},
    }
    try:
        await api.call("POST", f"/api/v1/namespaces/{namespace}/pods", query={"dryRun": "All"}, body=pod)
    except ClusterError as error:
        if error.cause is Cause.NAMESPACE_MISSING:
            return Finding("namespace", ok=False, found=f"namespace {namespace} does not exist", remedy=remedy)
        if error.cause is Cause.NAMESPACE_TERMINATING:
            return Finding("namespace", ok=False, found=f"namespace {namespace} is being deleted", remedy=remedy)
        if error.cause not in _NAMESPACE_EXISTS:
            found = f"cannot determine whether namespace {namespace} exists: {error.message}"
            return Finding("namespace", ok=False, found=found, remedy=_REMEDIES.get(error.cause, ""))
    return Finding("namespace", ok=True, found=f"{namespace} exists")


@dataclass(frozen=True)
class _Permissions:
    """The finding about permissions, and the missing ones."""

    finding: Finding
    missing: tuple[tuple[str, str, str], ...] = ()


async def _check_permissions(api: ClusterApi, namespace: str) -> _Permissions:
    try:
        allowed = await asyncio.gather(*(_may(api, namespace, *needed) for needed in NEEDED))
    except ClusterError as error:
        return _Permissions(Finding("permissions", ok=False, found=f"cannot be checked: {error.message}"))
    missing = tuple(needed for needed, may in zip(NEEDED, allowed, strict=True) if not may)
    if not missing:
        return _Permissions(Finding("permissions", ok=True, found="all needed permissions are granted"))
    rules: dict[str, list[str]] = {}
    for verb, resource, subresource in missing:
        rules.setdefault(f"{resource}/{subresource}" if subresource else resource, []).append(verb)
    listed = "; ".join(f"{', '.join(verbs)} {what}" for what, verbs in rules.items())
    yaml = ", ".join(
        f'{{apiGroups: [""], resources: [{what}], verbs: [{", ".join(verbs)}]}}' for what, verbs in rules.items()
    )
    remedy = f"a Role in namespace {namespace}, bound to KubeProbe's user, with rules: [{yaml}]"
    return _Permissions(Finding("permissions", ok=False, found=f"missing: {listed}", remedy=remedy), missing)


async def _check_nodes(api: ClusterApi) -> Finding:
    """Whether KubeProbe may list and watch nodes: without it, no case of a binding with `nodes` runs (NoNodes)."""
    try:
        allowed = await asyncio.gather(*(_may(api, "", verb, "nodes", "") for verb in NODE_VERBS))
    except ClusterError as error:
        return Finding("nodes", ok=False, found=f"cannot be checked: {error.message}")
    missing = [verb for verb, may in zip(NODE_VERBS, allowed, strict=True) if not may]
    if not missing:
        return Finding("nodes", ok=True, found="may be listed and watched")
    verbs = ", ".join(missing)
    rule = f'{{apiGroups: [""], resources: [nodes], verbs: [{verbs}]}}'
    remedy = f"a ClusterRole, bound to KubeProbe's user, with rules: [{rule}]; `kubeprobe cluster setup` creates it"
    return Finding("nodes", ok=False, found=f"missing: {verbs} nodes, and a binding has `nodes`", remedy=remedy)


async def _may(api: ClusterApi, namespace: str, verb: str, resource: str, subresource: str) -> bool:
    attributes = {"namespace": namespace, "verb": verb, "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    response = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    status = response.get("status")
    return isinstance(status, dict) and status.get("allowed") is True


async def _check_image(
    api: ClusterApi, namespace: str, trial: ImageTrial, missing: tuple[tuple[str, str, str], ...]
) -> Finding:
    if lacking := [verb for verb, *rest in missing if verb in _TRIAL_VERBS and rest == ["pods", ""]]:
        # A pod that cannot be deleted would stay.
        found = f"not tried: KubeProbe must be allowed to {', '.join(lacking)} pods"
        return Finding("image", ok=False, found=found, remedy="see permissions")
    try:
        problem = await try_image(api, namespace, trial)
    except ClusterError as error:
        remedy = _REMEDIES.get(error.cause, "")
        return Finding("image", ok=False, found=f"no pod could be started: {error.message}", remedy=remedy)
    if problem is None:
        return Finding("image", ok=True, found=f"a pod of {trial.image} started")
    remedy = "check the image's name, pull secrets, whether its nodes reach the registry, and their free capacity"
    return Finding("image", ok=False, found=problem, remedy=remedy)


_REMEDIES = {
    Cause.CLUSTER_UNREACHABLE: "fix the network, or replace the connection: kubeprobe cluster add NAME ... --replace",
    Cause.CREDENTIALS_UNAVAILABLE: "fix what is named, or replace it: kubeprobe cluster add NAME ... --replace",
    Cause.NOT_SENT: "see the limits of this machine (ulimit -n), and repeat the check",
    Cause.UNAUTHORIZED: "replace the credentials: kubeprobe cluster add NAME ... --replace",
    Cause.FORBIDDEN: "see permissions",
    Cause.NAMESPACE_MISSING: "see namespace",
    Cause.NAMESPACE_TERMINATING: "see namespace",
    Cause.ADMISSION_DENIED: "allow KubeProbe's pods in the named policy",
    Cause.QUOTA_EXCEEDED: "raise the quota, or use a separate namespace for KubeProbe",
}
