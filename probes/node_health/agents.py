"""The health of the node's kubelet and container runtime, from themselves and from the API."""

import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from probes._api import Api
from probes._cri import RuntimeNotFound, RuntimeUnavailable, conditions, socket_of
from probes.node_health.finding import Findings

Json = dict[str, Any]

HEALTHZ_TIMEOUT = 5.0
"""Time limit of the kubelet's health check, in seconds."""

_HEALTHZ_BYTES = 65_536
PAGE_SIZE = 250
_GOOD_IF_TRUE = ("Ready", "EtcdIsVoter")
"""The suffixes of node condition types whose good status is True; for all others it is False.

In addition to the kubelet's Ready, EKS's node monitoring agent sets KernelReady and more; K3s and RKE2 set EtcdIsVoter.
"""


def kubelet(url: str) -> Findings:
    """Call the kubelet's health check."""
    findings = Findings()
    try:
        with urllib.request.urlopen(url, timeout=HEALTHZ_TIMEOUT) as response:  # noqa: S310 - the operator's own URL
            response.read(_HEALTHZ_BYTES)
    except urllib.error.HTTPError as error:
        findings.problems.append(
            f"kubelet: {url} responded with {error.code}: {error.read(200).decode('utf-8', 'replace').strip()}"
        )
    except OSError as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        findings.problems.append(f"kubelet: no response at {url}: {why}")
    return findings


def runtime(root: Path, socket: str) -> Findings:
    """Query the container runtime, at a socket of the node or, if that is empty, at the usual ones."""
    findings = Findings()
    try:
        reported = conditions(socket_of(root, socket))
    except RuntimeNotFound as error:
        findings.unchecked.append(str(error))
        return findings
    except RuntimeUnavailable as error:
        findings.problems.append(str(error))
        return findings
    findings.problems += [
        f"container runtime: {one.type} is false: {one.reason}: {one.message}" for one in reported if not one.status
    ]
    return findings


def api_state(api: Api, node: str, lease_age: float, terminating: float) -> Findings:
    """The node's conditions, its lease, and pods that should have been removed from it. Raises ApiError."""
    findings = Findings()
    now = datetime.now(UTC)
    findings.problems += _conditions(node, api.get(f"/api/v1/nodes/{node}"))
    lease = api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")
    age = (now - _time(lease["spec"]["renewTime"])).total_seconds()
    findings.measured["lease_age_s"] = round(age, 1)
    if age > lease_age:
        findings.problems.append(
            f"kubelet: it has not renewed the lease of node {node} for {age:.0f} s ({lease_age:g} s are allowed)"
        )
    for page in api.pages("/api/v1/pods", PAGE_SIZE, fieldSelector=f"spec.nodeName={node}"):
        findings.problems += [why for pod in page if (why := _stuck(pod, now, terminating))]
    return findings


def _conditions(node: str, found: Json) -> list[str]:
    """Conditions of readiness must be True; all others, such as MemoryPressure, must be False."""
    problems = []
    for condition in found["status"].get("conditions") or ():
        good = "True" if condition["type"].endswith(_GOOD_IF_TRUE) else "False"
        if condition["status"] != good:
            why = f"{condition.get('reason', '')}: {condition.get('message', '')}"
            problems.append(f"node {node}: {condition['type']} is {condition['status']}: {why}")
    return problems


def _stuck(pod: Json, now: datetime, terminating: float) -> str:
    """Why a pod is stuck in termination; empty if it is not. Its deletionTimestamp includes the grace period."""
    deadline = pod["metadata"].get("deletionTimestamp")
    if not deadline or pod["metadata"].get("finalizers"):  # finalizers are not the node's
        return ""
    late = (now - _time(deadline)).total_seconds()
    if late <= terminating:
        return ""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return f"pod {name} should have ended {late:.0f} s ago: the kubelet or the runtime does not remove it"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
