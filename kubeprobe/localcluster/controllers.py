"""The controllers of the controller-manager: changes to objects that follow from other objects.

Garbage collection by ownerReferences, deletion of namespaces, the `default` service account, usage of quotas,
and the kinds that CustomResourceDefinitions add. Driven by the store's changes; acts right after them.
"""

import asyncio
from typing import Any

from kubeprobe.localcluster.admission import used_by_pods
from kubeprobe.localcluster.deletion import DeleteOptions
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.registry import Registry, Target
from kubeprobe.localcluster.resources import (
    CRDS,
    NAMESPACES,
    PODS,
    RESOURCE_QUOTAS,
    SERVICE_ACCOUNTS,
    Resource,
    ResourceTable,
)
from kubeprobe.localcluster.store import Change


class Controllers:
    """The controllers of one cluster."""

    def __init__(self, registry: Registry, resources: ResourceTable) -> None:
        self._registry = registry
        self._store = registry.store
        self._resources = resources
        self._by_uid: dict[str, Target] = {}
        self._dependents: dict[str, set[str]] = {}
        self._store.listen(self._on_change)

    def _on_change(self, change: Change) -> None:
        metadata = change.stored.object["metadata"]
        target = Target(change.resource, metadata.get("namespace", ""), metadata["name"])
        if change.type == "DELETED":
            self._on_deleted(target, change.stored.object)
        else:
            self._by_uid[metadata["uid"]] = target
            self._follow_owners(metadata)
            self._on_present(target, change)
        if change.resource is PODS and self._store.count(RESOURCE_QUOTAS):
            self._update_quotas(target.namespace)

    def _on_present(self, target: Target, change: Change) -> None:
        resource, obj = target.resource, change.stored.object
        added = change.type == "ADDED"
        if resource is NAMESPACES:
            if added:
                self._create_service_account(target.name)
            elif "deletionTimestamp" in obj["metadata"]:
                _soon(self._empty_namespace, target.name)
        elif resource is CRDS:
            self._resources.define(obj)
        elif resource is RESOURCE_QUOTAS and (added or "status" not in obj):
            self._update_quotas(target.namespace)
        finalizers = obj["metadata"].get("finalizers") or ()
        if "deletionTimestamp" in obj["metadata"] and {"foregroundDeletion", "orphan"} & set(finalizers):
            _soon(self._settle_dependents, obj["metadata"]["uid"])

    def _on_deleted(self, target: Target, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        self._by_uid.pop(uid, None)
        for owner in obj["metadata"].get("ownerReferences") or ():
            dependents = self._dependents.get(owner["uid"])
            if dependents is not None:
                dependents.discard(uid)
                _soon(self._settle_dependents, owner["uid"])
        if uid in self._dependents:
            _soon(self._collect_dependents, uid)
        if target.resource is CRDS:
            self._remove_custom_kind(obj)
        if target.namespace:
            namespace = self._store.get(NAMESPACES, "", target.namespace)
            if namespace is not None and "deletionTimestamp" in namespace.object["metadata"]:
                _soon(self._empty_namespace, target.namespace)
            elif target.resource is SERVICE_ACCOUNTS and target.name == "default" and namespace is not None:
                _soon(self._create_service_account, target.namespace)

    # Garbage collection

    def _follow_owners(self, metadata: Object) -> None:
        owners = metadata.get("ownerReferences") or ()
        for owner in owners:
            self._dependents.setdefault(owner["uid"], set()).add(metadata["uid"])
        if owners and not any(owner["uid"] in self._by_uid for owner in owners):
            _soon(self._collect, metadata["uid"])

    def _collect_dependents(self, owner: str) -> None:
        for uid in sorted(self._dependents.pop(owner, ())):
            self._collect(uid)

    def _collect(self, uid: str) -> None:
        """Delete a dependent unless another of its owners still exists."""
        target = self._by_uid.get(uid)
        if target is None:
            return
        metadata = self._registry.get(target).object["metadata"]
        owners = metadata.get("ownerReferences") or []
        present = [owner for owner in owners if owner["uid"] in self._by_uid]
        if not present:
            self._registry.delete(target, DeleteOptions(uid=uid))
        elif len(present) < len(owners):
            self._set_metadata(target, ownerReferences=present)

    def _settle_dependents(self, owner: str) -> None:
        """Continue a deletion that waits for dependents (foreground) or for their release (orphan)."""
        target = self._by_uid.get(owner)
        if target is None:
            return
        metadata = self._registry.get(target).object["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if "deletionTimestamp" not in metadata or not {"foregroundDeletion", "orphan"} & set(finalizers):
            return
        dependents = [self._by_uid[uid] for uid in sorted(self._dependents.get(owner, ())) if uid in self._by_uid]
        if "orphan" in finalizers:
            for dependent in dependents:
                self._release(dependent, owner)
            self._set_metadata(target, finalizers=[f for f in finalizers if f != "orphan"])
        elif dependents:
            for dependent in dependents:
                self._registry.delete(dependent, DeleteOptions(propagation="Foreground"))
        else:
            self._set_metadata(target, finalizers=[f for f in finalizers if f != "foregroundDeletion"])

    def _release(self, dependent: Target, owner: str) -> None:
        owners = self._registry.get(dependent).object["metadata"].get("ownerReferences") or ()
        self._dependents.get(owner, set()).discard(self._registry.get(dependent).object["metadata"]["uid"])
        self._set_metadata(dependent, ownerReferences=[o for o in owners if o["uid"] != owner])

    def _set_metadata(self, target: Target, **fields: list[Any]) -> None:
        def apply(obj: Object) -> Object:
            metadata = {**obj["metadata"], **fields}
            return {**obj, "metadata": {key: value for key, value in metadata.items() if value != []}}

        self._registry.patch(target, apply)

    # Namespaces

    def _create_service_account(self, namespace: str) -> None:
        if self._store.get(SERVICE_ACCOUNTS, namespace, "default") is None:
            target = Target(SERVICE_ACCOUNTS, namespace)
            self._registry.create(target, {"metadata": {"name": "default"}})

    def _empty_namespace(self, name: str) -> None:
        """Delete the content of a terminating namespace; once it is empty, the namespace too."""
        namespace = self._store.get(NAMESPACES, "", name)
        if namespace is None or "deletionTimestamp" not in namespace.object["metadata"]:
            return
        left = [(resource, stored) for resource in self._namespaced() for stored in self._store.items(resource, name)]
        for resource, stored in left:
            metadata = stored.object["metadata"]
            if "deletionTimestamp" not in metadata and self._store.get(resource, name, metadata["name"]):
                self._registry.delete(Target(resource, name, metadata["name"]), DeleteOptions())
        if not any(self._store.items(resource, name) for resource in self._namespaced()):
            self._finish_namespace(name)

    def _namespaced(self) -> list[Resource]:
        stored = self._resources.stored()
        return [stored[kind] for kind in self._store.kinds() if stored[kind].namespaced]

    def _finish_namespace(self, name: str) -> None:
        namespace = self._store.get(NAMESPACES, "", name)
        if namespace is None:
            return
        released = {**namespace.object, "spec": {**namespace.object["spec"], "finalizers": []}}
        if released["metadata"].get("finalizers"):
            self._store.put(NAMESPACES, released)
        else:
            self._store.remove(NAMESPACES, released)

    # Other kinds

    def _remove_custom_kind(self, definition: Object) -> None:
        spec = definition["spec"]
        qualified = f"{spec['names']['plural']}.{spec['group']}"
        resource = self._resources.stored().get(qualified)
        if resource is not None:
            for stored in self._store.items(resource):
                self._store.remove(resource, stored.object)
        self._resources.forget(definition)

    def _update_quotas(self, namespace: str) -> None:
        used = used_by_pods(self._store, namespace)
        for stored in self._store.items(RESOURCE_QUOTAS, namespace):
            hard = (stored.object.get("spec") or {}).get("hard") or {}
            status = {"hard": hard, "used": {key: str(used.get(key, 0)) for key in hard}}
            metadata = stored.object["metadata"]
            target = Target(RESOURCE_QUOTAS, namespace, metadata["name"])
            self._registry.set_status(target, metadata["uid"], status)


def _soon(act: Any, *arguments: str) -> None:
    """Act once the current change is complete, as controllers do."""
    asyncio.get_running_loop().call_soon(act, *arguments)
