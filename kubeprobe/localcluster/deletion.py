"""Deletion: its options, preconditions, finalizers and grace period.

Pure. `registry` acts on it.
"""

from dataclasses import dataclass, replace

from kubeprobe.localcluster import errors
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import NAMESPACES, PODS, Resource
from kubeprobe.localcluster.store import Stored


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """Preconditions, grace period and propagation of a DELETE."""

    uid: str | None = None
    resource_version: str | None = None
    grace_seconds: int | None = None
    propagation: str = "Background"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object's last state, and whether it was removed already."""

    stored: Stored
    gone: bool


def is_released(obj: Object) -> bool:
    """Whether an object that is being deleted can be removed: no finalizers, no grace period."""
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
    """Check UID and resourceVersion. Raises `ApiError` (409)."""
    metadata = obj["metadata"]
    kind = replace(resource, plural=resource.kind)
    if options.uid is not None and options.uid != metadata["uid"]:
        mismatch = f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']})"
        why = f"{mismatch}. The object might have been deleted and then recreated"
        raise errors.conflict(kind, metadata["name"], why)
    version = metadata["resourceVersion"]
    if options.resource_version is not None and options.resource_version != version:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
            f"the ResourceVersion in record ({version}). The object might have been modified"
        )
        raise errors.conflict(kind, metadata["name"], why)


def finalizers_for(obj: Object, options: DeleteOptions) -> list[str]:
    """The object's finalizers, and the one that the propagation policy adds."""
    finalizers = list(obj["metadata"].get("finalizers") or ())
    added = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
    if added and added not in finalizers:
        finalizers.append(added)
    return finalizers


def grace_seconds(resource: Resource, obj: Object, options: DeleteOptions) -> int:
    """Seconds that the object's processes have to end. Only pods have processes."""
    if resource is not PODS or not obj["spec"].get("nodeName"):
        return 0
    if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    wanted = options.grace_seconds
    if wanted is None:
        wanted = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return 1 if wanted < 0 else int(wanted)
