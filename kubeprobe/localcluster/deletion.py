"""What a deletion is about: its options, what may hold an object back, and for how long.

Pure. `registry` acts on it.
"""

from dataclasses import dataclass, replace

from kubeprobe.localcluster import errors
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import NAMESPACES, PODS, Resource
from kubeprobe.localcluster.store import Stored


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete: only this very object, how long its processes may take, what becomes of dependents."""

    uid: str | None = None
    resource_version: str | None = None
    grace_seconds: int | None = None
    propagation: str = "Background"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object's last state, and whether it is gone already."""

    stored: Stored
    gone: bool


def is_released(obj: Object) -> bool:
    """Whether nothing holds an object any more that is being deleted."""
    metadata = obj["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not (obj["kind"] == "Namespace" and obj["spec"].get("finalizers"))
    )


def is_held_by_spec(resource: Resource, obj: Object) -> bool:
    """Whether the object is a namespace that has not been emptied."""
    return resource is NAMESPACES and bool(obj["spec"].get("finalizers"))


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Refuse to delete another object than the client means. Raises `ApiError` (409)."""
    metadata = obj["metadata"]
    again = "The object might have been deleted and then recreated"
    kind = replace(resource, plural=resource.kind)
    if options.uid is not None and options.uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). {again}"
        )
        raise errors.conflict(kind, metadata["name"], why)
    version = metadata["resourceVersion"]
    if options.resource_version is not None and options.resource_version != version:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
            f"the ResourceVersion in record ({version}). The object might have been modified"
        )
        raise errors.conflict(kind, metadata["name"], why)


def finalizers_for(obj: Object, options: DeleteOptions) -> list[str]:
    """What must be done before the object may go, by itself and by how it is deleted."""
    finalizers = list(obj["metadata"].get("finalizers") or ())
    added = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
    if added and added not in finalizers:
        finalizers.append(added)
    return finalizers


def grace_seconds(resource: Resource, obj: Object, options: DeleteOptions) -> int:
    """How long the object stays for its processes to end. Only pods have any."""
    if resource is not PODS or not obj["spec"].get("nodeName"):
        return 0
    if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.grace_seconds
    if wanted is None:
        wanted = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return 1 if wanted < 0 else int(wanted)
