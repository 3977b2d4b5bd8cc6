"""Whether a Deployment is rolled out and its Service has the right endpoints; if not, why."""

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def is_rolled_out(deployment: Json) -> bool:
    """Whether all its pods are of the newest template and available, and no other exists."""
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    observed: int = status.get("observedGeneration", 0)
    return observed >= deployment["metadata"]["generation"] and counts == {wanted}


def why_not_rolled_out(deployment: Json, pods: list[Json], of_pod: Callable[[Json], str]) -> str:
    """The cause; `of_pod` returns the cause for a pod."""
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "kube-controller-manager's Deployment controller has not processed it"
    failure = _condition(deployment, "ReplicaFailure")
    if failure:
        return f"{failure.get('reason', 'ReplicaFailure')}: {failure.get('message', '')}"
    waiting = [pod for pod in pods if not _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
    if waiting:
        newest = max(waiting, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        return f"pod {newest['metadata']['name']}: {of_pod(newest)}"
    counts = ", ".join(
        f"{status.get(key, 0)} {word}"
        for key, word in (("replicas", "pods"), ("updatedReplicas", "updated"), ("availableReplicas", "available"))
    )
    return f"{counts}; {deployment['spec']['replicas']} desired"


def ready_addresses(slices: list[Json]) -> dict[str, str]:
    """Address of each ready endpoint -> the EndpointSlice that lists it."""
    return {
        address: one["metadata"]["name"]
        for one in slices
        for endpoint in one.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint.get("addresses") or []
    }


def pod_addresses(pods: list[Json]) -> dict[str, str]:
    """Address of each pod that is ready and not terminating -> its name."""
    return {
        address["ip"]: pod["metadata"]["name"]
        for pod in pods
        if _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
        for address in (pod.get("status") or {}).get("podIPs") or []
    }


def wrong_endpoints(slices: list[Json], pods: list[Json]) -> list[str]:
    """Differences between the Service's endpoints and its pods: wrong endpoints, and missing pods."""
    listed, expected = ready_addresses(slices), pod_addresses(pods)
    families = {one.get("addressType", "IPv4") for one in slices} or {"IPv4"}
    unexpected = [
        f"endpointslice {name} lists {address}, which is not the address of a ready pod of the Service"
        for address, name in listed.items()
        if address not in expected
    ]
    missing = [
        f"pod {name} ({address}) is ready, but not an endpoint: kube-controller-manager's EndpointSlice controller "
        "has not added it"
        for address, name in expected.items()
        if address not in listed and ("IPv6" if ":" in address else "IPv4") in families
    ]
    return unexpected + missing


def _is_ready(pod: Json) -> bool:
    return _condition(pod, "Ready") != {}


def _condition(found: Json, kind: str) -> Json:
    """The condition if it is true; else empty."""
    conditions: list[Json] = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), {})
