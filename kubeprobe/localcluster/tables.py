"""Lists as `Table` objects, which `kubectl get` requests instead of objects."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import EVENTS, NAMESPACES, NODES, PODS, Resource
from kubeprobe.localcluster.store import Stored

_NAME = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
_AGE = {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0}


def as_table(resource: Resource, items: Sequence[Stored], metadata: Object) -> Object:
    """The objects as a Table: name, the main columns of the kind, and age."""
    extra, _ = _COLUMNS.get(resource, _NO_COLUMNS)
    columns = [_NAME, *({**_AGE, "name": name} for name in extra), _AGE]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": [_row(resource, stored.object) for stored in items],
    }


def _row(resource: Resource, obj: Object) -> Object:
    metadata = obj["metadata"]
    age = _age(metadata.get("creationTimestamp"))
    _, cells_of = _COLUMNS.get(resource, _NO_COLUMNS)
    cells = [metadata["name"], *cells_of(obj), age]
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {"cells": cells, "object": partial}


def _pod_cells(pod: Object) -> tuple[str, str, str]:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    ready = sum(1 for status in statuses if status.get("ready"))
    restarts = sum(status.get("restartCount", 0) for status in statuses)
    return f"{ready}/{len(pod['spec']['containers'])}", _pod_state(pod, statuses), str(restarts)


def _pod_state(pod: Object, statuses: list[Object]) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    status = pod.get("status", {})
    for container in statuses:
        for state in ("waiting", "terminated"):
            reason = container["state"].get(state, {}).get("reason")
            if reason:
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _event_cells(event: Object) -> tuple[str, str, str, str]:
    about = event.get("involvedObject") or {}
    subject = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    return event.get("type", ""), event.get("reason", ""), subject, event.get("message", "")


def _node_cells(node: Object) -> tuple[str]:
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ("Ready" if ready else "NotReady",)


_NO_COLUMNS: tuple[tuple[str, ...], Callable[[Object], tuple[str, ...]]] = ((), lambda _: ())
_COLUMNS: dict[Resource, tuple[tuple[str, ...], Callable[[Object], tuple[str, ...]]]] = {
    PODS: (("Ready", "Status", "Restarts"), _pod_cells),
    EVENTS: (("Type", "Reason", "Object", "Message"), _event_cells),
    NAMESPACES: (("Status",), lambda namespace: (namespace["status"]["phase"],)),
    NODES: (("Status",), _node_cells),
}


def _age(created: str | None) -> str:
    if not created:
        return "<unknown>"
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"
