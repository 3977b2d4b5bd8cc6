"""The verbs of the API: create, get, update, patch and delete objects by the real API server's rules.

Between `http` (which reads requests) and `store` (which keeps versions). Nothing here awaits, so requests
never interleave.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from kubeprobe.localcluster import errors
from kubeprobe.localcluster.admission import Admission
from kubeprobe.localcluster.defaults import with_defaults
from kubeprobe.localcluster.deletion import (
    Deleted,
    DeleteOptions,
    check_preconditions,
    finalizers_for,
    grace_seconds,
    is_held_by_spec,
    is_released,
)
from kubeprobe.localcluster.objects import Clock, Object, timestamp, utc_now
from kubeprobe.localcluster.resources import NAMESPACES, PODS, Resource
from kubeprobe.localcluster.shapes import decoded
from kubeprobe.localcluster.store import Store, Stored
from kubeprobe.localcluster.validation import faults_of, update_faults

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LONGEST_GENERATED_BASE = 58
_KEPT_METADATA = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


@dataclass(frozen=True, slots=True)
class Target:
    """The resource, object or subresource that a request addresses."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(slots=True)
class Registry:
    """The objects of one cluster, by the rules of the API."""

    store: Store
    clock: Clock = utc_now
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        """Admission reads what is stored."""
        self.admission = Admission(self.store)

    def get(self, target: Target) -> Stored:
        """One object. Raises `ApiError` (404)."""
        stored = self.store.get(target.resource, target.namespace, target.name)
        if stored is None:
            raise errors.not_found(target.resource, target.name)
        return stored

    def create(self, target: Target, body: Object, *, dry_run: bool = False) -> Stored:
        """Store a new object, named by the client or from its generateName."""
        resource = target.resource
        obj = self._decoded(target, body)
        metadata = obj["metadata"]
        requested_name = metadata.get("name") or metadata.get("generateName") or ""
        self.admission.before_validation(resource, target.namespace, requested_name, obj)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generated_name(resource, target.namespace, metadata["generateName"])
        if resource.status:
            obj.pop("status", None)
        obj = with_defaults(resource, obj)
        self._refuse_faults(resource, obj, faults_of(resource, obj))
        if self.store.get(resource, target.namespace, obj["metadata"]["name"]):
            raise errors.already_exists(resource, obj["metadata"]["name"])
        self.admission.after_validation(resource, target.namespace, obj)
        return Stored(obj, 0) if dry_run else self.store.put(resource, obj)

    def update(self, target: Target, body: Object, *, dry_run: bool = False) -> Stored:
        """Replace an object, or its status. Raises `ApiError` (409) when the body is based on an older one."""
        resource = target.resource
        current = self.get(target)
        old = current.object
        new = self._merged_update(target, old, self._decoded(target, body, old))
        if new == old:
            return current
        if not target.subresource:
            self._refuse_faults(resource, new, faults_of(resource, new) + update_faults(resource, old, new))
            if "generation" in old["metadata"] and new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        if dry_run:
            return Stored(new, current.version)
        if is_released(new) and not is_released(old):
            return self.store.remove(resource, new)
        return self.store.put(resource, new)

    def patch(self, target: Target, apply: Callable[[Object], Object], *, dry_run: bool = False) -> Stored:
        """Replace an object by what `apply` makes of it."""
        old = self.get(target).object
        new = apply(old)
        uid = (new.get("metadata") or {}).get("uid")
        if uid not in (None, old["metadata"]["uid"]):
            cause = errors.Cause("FieldValueInvalid", f'Invalid value: "{uid}": field is immutable', "metadata.uid")
            raise errors.invalid(target.resource, target.name, [cause])
        return self.update(target, new, dry_run=dry_run)

    def set_status(self, target: Target, uid: str, status: Object) -> Stored | None:
        """Write the status of an object; None when the object with this UID no longer exists."""
        current = self.store.get(target.resource, target.namespace, target.name)
        if current is None or current.object["metadata"]["uid"] != uid:
            return None
        if current.object.get("status") == status:
            return current
        return self.store.put(target.resource, {**current.object, "status": status})

    def delete(self, target: Target, options: DeleteOptions) -> Deleted:
        """Delete an object, or mark it as being deleted while finalizers or its processes hold it."""
        current = self.get(target)
        check_preconditions(target.resource, current.object, options)
        finalizers = finalizers_for(current.object, options)
        grace = grace_seconds(target.resource, current.object, options)
        held = bool(finalizers) or grace > 0 or is_held_by_spec(target.resource, current.object)
        if options.dry_run:
            return Deleted(current, gone=not held)
        if not held:
            return Deleted(self._remove(target, current), gone=True)
        return Deleted(self._mark_deleted(target, current, finalizers, grace), gone=False)

    def finish_deletion(self, target: Target, uid: str) -> None:
        """Remove an object whose processes have ended, unless it has finalizers."""
        current = self.store.get(target.resource, target.namespace, target.name)
        if current is None or current.object["metadata"]["uid"] != uid:
            return
        metadata = current.object["metadata"]
        ended = {**metadata, "deletionGracePeriodSeconds": 0, "deletionTimestamp": timestamp(self.clock())}
        marked = self.store.put(target.resource, {**current.object, "metadata": ended})
        if not metadata.get("finalizers"):
            self.store.remove(target.resource, marked.object)

    def _remove(self, target: Target, current: Stored) -> Stored:
        """Remove an object at once. Watchers see a pod being marked first, also when nothing holds it."""
        if target.resource is PODS:
            current = self._mark_deleted(target, current, [], 0)
        return self.store.remove(target.resource, current.object)

    def _mark_deleted(self, target: Target, current: Stored, finalizers: list[str], grace: int) -> Stored:
        metadata = current.object["metadata"]
        sooner = grace < metadata.get("deletionGracePeriodSeconds", grace + 1)
        if metadata.get("deletionTimestamp") and not sooner and finalizers == metadata.get("finalizers", []):
            return current
        marked = dict(metadata)
        if target.resource is not NAMESPACES:
            marked["deletionGracePeriodSeconds"] = grace
        marked["deletionTimestamp"] = timestamp(self.clock() + timedelta(seconds=grace))
        if "generation" in marked:
            marked["generation"] += 1
        if finalizers:
            marked["finalizers"] = finalizers
        obj = {**current.object, "metadata": marked}
        if target.resource is NAMESPACES:
            obj["status"] = {**obj["status"], "phase": "Terminating"}
        return self.store.put(target.resource, obj)

    def _decoded(self, target: Target, body: Object, old: Object | None = None) -> Object:
        """The body with its identity checked against the path and completed from it."""
        resource = target.resource
        if body.get("kind", resource.kind) != resource.kind:
            raise errors.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"the body's kind is {body['kind']}"
            )
        if body.get("apiVersion", resource.api_version) != resource.api_version:
            raise errors.bad_request(
                f"the API version in the data ({body['apiVersion']}) does not match "
                f"the expected API version ({resource.api_version})"
            )
        body = decoded(resource, body)
        metadata = {key: value for key, value in (body.get("metadata") or {}).items() if value is not None}
        metadata.pop("managedFields", None)
        if metadata.get("namespace") not in (None, "", target.namespace):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if target.namespace:
            metadata["namespace"] = target.namespace
        metadata = _updated_metadata(target, metadata, old) if old else self._created_metadata(target, metadata)
        rest = {k: v for k, v in body.items() if k not in ("kind", "apiVersion", "metadata") and v is not None}
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata, **rest}

    def _created_metadata(self, target: Target, metadata: Object) -> Object:
        if metadata.pop("resourceVersion", ""):
            raise errors.ApiError(500, "InternalError", "resourceVersion should not be set on objects to be created")
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(key, None)
        metadata["uid"] = str(uuid4())
        metadata["creationTimestamp"] = timestamp(self.clock())
        if target.resource is PODS or target.resource.group not in _WITHOUT_GENERATION:
            metadata["generation"] = 1
        return metadata

    def _generated_name(self, resource: Resource, namespace: str, base: str) -> str:
        while True:
            suffix = "".join(random.choices(_NAME_LETTERS, k=5))  # noqa: S311 -- a name, not a secret
            name = base[:_LONGEST_GENERATED_BASE] + suffix
            if not self.store.get(resource, namespace, name):
                return name

    def _merged_update(self, target: Target, old: Object, new: Object) -> Object:
        """What is stored of an update: the status alone, or all but the status."""
        if target.subresource == "status":
            return {**old, "status": new.get("status") or {}}
        if target.resource.status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if target.resource.kind == "Secret":
            new = with_defaults(target.resource, new)
        return new

    def _refuse_faults(self, resource: Resource, obj: Object, faults: list[errors.Cause]) -> None:
        if faults:
            raise errors.invalid(resource, obj["metadata"].get("name", ""), faults)


_WITHOUT_GENERATION = frozenset({"", "coordination.k8s.io", "rbac.authorization.k8s.io"})


def _updated_metadata(target: Target, metadata: Object, old: Object) -> Object:
    resource, kept = target.resource, old["metadata"]
    if metadata.get("name") != target.name:
        raise errors.bad_request(
            f"the name of the object ({metadata.get('name', '')}) does not match the name on the URL ({target.name})"
        )
    if metadata.get("uid", kept["uid"]) != kept["uid"]:
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {kept['uid']}"
        raise errors.conflict(resource, target.name, why)
    if metadata.get("resourceVersion", kept["resourceVersion"]) not in ("", kept["resourceVersion"]):
        raise errors.stale(resource, target.name)
    metadata = {key: value for key, value in metadata.items() if key not in _KEPT_METADATA}
    if not metadata.get("finalizers"):
        metadata.pop("finalizers", None)
    return {
        **metadata,
        **{key: kept[key] for key in _KEPT_METADATA if key in kept},
        "resourceVersion": kept["resourceVersion"],
    }
