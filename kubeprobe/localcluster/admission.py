"""Admission: refuses valid objects because of their namespace, service account or quota.

Called by `registry` before an object is created; messages are those of the real admission plug-ins.
"""

from kubeprobe.localcluster import errors
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.quantities import parse_quantity
from kubeprobe.localcluster.resources import NAMESPACES, PODS, RESOURCE_QUOTAS, SERVICE_ACCOUNTS, Resource
from kubeprobe.localcluster.store import Store

_ENDED = ("Succeeded", "Failed")


class Admission:
    """The admission plug-ins of one cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def before_validation(self, resource: Resource, namespace: str, name: str, obj: Object) -> None:
        """Check namespace and service account. Raises `ApiError` (403, 404)."""
        if resource.namespaced and not resource.create_only:
            self._check_namespace(resource, namespace, name)
        if resource is PODS:
            self._check_service_account(namespace, name, obj.get("spec") or {})

    def after_validation(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Check quotas. Raises `ApiError` (403)."""
        if resource is PODS and self._store.count(RESOURCE_QUOTAS):
            self._check_quotas(namespace, obj)

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        stored = self._store.get(NAMESPACES, "", namespace)
        if stored is None:
            raise errors.not_found(NAMESPACES, namespace)
        if "deletionTimestamp" in stored.object["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = errors.Cause(
                "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
            )
            raise errors.forbidden(resource, name, why, [cause])

    def _check_service_account(self, namespace: str, name: str, spec: Object) -> None:
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        if self._store.get(SERVICE_ACCOUNTS, namespace, account) is None:
            why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise errors.forbidden(PODS, name, why)

    def _check_quotas(self, namespace: str, pod: Object) -> None:
        used = used_by_pods(self._store, namespace)
        for stored in self._store.items(RESOURCE_QUOTAS, namespace):
            hard = (stored.object.get("spec") or {}).get("hard") or {}
            full = [key for key in sorted(used) if key in hard and used[key] + 1 > parse_quantity(hard[key])]
            if full:
                why = (
                    f"exceeded quota: {stored.object['metadata']['name']}, "
                    f"requested: {','.join(f'{key}=1' for key in full)}, "
                    f"used: {','.join(f'{key}={used[key]}' for key in full)}, "
                    f"limited: {','.join(f'{key}={hard[key]}' for key in full)}"
                )
                raise errors.forbidden(PODS, pod["metadata"]["name"], why)


def used_by_pods(store: Store, namespace: str) -> dict[str, int]:
    """Usage of a namespace's quota by its pods: `pods` counts those that have not ended."""
    pods = [stored.object for stored in store.items(PODS, namespace)]
    active = sum(1 for pod in pods if (pod.get("status") or {}).get("phase") not in _ENDED)
    return {"pods": active, "count/pods": len(pods)}
