"""Whether a pod can run on the node, and the scheduler's message if not. Pure."""

from typing import Any

from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.quantities import parse_quantity


def unschedulable_message(pod: Object, node: Object) -> str | None:
    """The scheduler's message if the pod cannot run on the only node; None if it can.

    Requests are compared with the whole node: other pods do not reduce what is available.
    """
    reasons = []
    if not _labels_match(pod["spec"].get("nodeSelector") or {}, node["metadata"].get("labels") or {}):
        reasons.append("node(s) didn't match Pod's node affinity/selector")
    else:
        allocatable = node["status"]["allocatable"]
        reasons += [
            f"Insufficient {resource}"
            for resource in sorted(requested(pod))
            if requested(pod)[resource] > parse_quantity(allocatable.get(resource, 0))
        ]
    if not reasons:
        return None
    listed = ", ".join(f"1 {reason}" for reason in reasons)
    return (
        f"0/1 nodes are available: {listed}. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def requested(pod: Object) -> dict[str, Any]:
    """The sum of the containers' requests."""
    total: dict[str, Any] = {}
    for container in pod["spec"]["containers"]:
        for resource, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[resource] = total.get(resource, 0) + parse_quantity(amount)
    return total


def _labels_match(selector: Object, labels: Object) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())
