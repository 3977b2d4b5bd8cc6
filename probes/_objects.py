"""The objects that probes create, and their deletion. Used by the black-box probes.

Every object has the run's labels and, in the pod's own namespace, an ownerReference to the probe's pod: if the
probe is killed, Kubernetes deletes objects with an owner, and KubeProbe's sweeper the others.
"""

import secrets
import sys
from types import TracebackType
from typing import Any, Self

from kubeprobe_client import Run

from probes._api import Api, ApiError

Json = dict[str, Any]

BUSYBOX = "docker.io/kubeprobe/busybox:dev"
_PROBE_USER = 65534
POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "runAsUser": _PROBE_USER,
    "runAsGroup": _PROBE_USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""With CONTAINER_SECURITY: the `restricted` Pod Security Standard."""
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
LINUX = {"kubernetes.io/os": "linux"}
"""The node selector of pods with the probes' images: a cluster may also have Windows nodes."""
SMALL: Json = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
"""Small enough for nearly every quota."""


def fresh_name(case: str) -> str:
    """A unique name: `api-crud-5f3a9c0b12de`."""
    return f"{case}-{secrets.token_hex(6)}"


def metadata(run: Run, name: str, namespace: str | None = None, **labels: str) -> Json:
    """The metadata of an object that a probe creates; cluster-scoped without `namespace`.

    Only objects in the pod's own namespace get an owner: Kubernetes immediately deletes others that have one.
    """
    owner = run.owner_reference(namespace) if namespace else None
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "labels": {**run.labels, **labels},
        **({"ownerReferences": [owner]} if owner else {}),
    }


def pod_spec(container: Json, **fields: Any) -> Json:
    """A pod's spec around one container, complying with `restricted`; `fields` are added or override."""
    return {
        "nodeSelector": LINUX,
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [
            {"imagePullPolicy": "IfNotPresent", "resources": SMALL, "securityContext": CONTAINER_SECURITY, **container}
        ],
        **fields,
    }


class Cleanup:
    """Deletes the objects that a probe created, last first, however the probe ends. A context manager.

    Failed deletions are logged to stderr and left to Kubernetes and the sweeper; they do not change the verdict.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._paths: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        while self._paths:
            self._remove(self._paths.pop())

    def create(self, collection: str, body: Json) -> Json:
        """Create an object and delete it at the end; raises ApiError.

        It counts as created unless it was clearly refused, as a response may be lost.
        """
        path = f"{collection}/{body['metadata']['name']}"
        self._paths.append(path)
        try:
            return self._api.create(collection, body)
        except ApiError as error:
            if 400 <= error.status < 500:
                self._paths.remove(path)
            raise

    def add(self, path: str) -> None:
        """Also delete this object at the end, which was created as a consequence of the probe."""
        self._paths.append(path)

    def forget(self, path: str) -> None:
        """Do not delete this object at the end: the probe has deleted it itself."""
        if path in self._paths:
            self._paths.remove(path)

    def _remove(self, path: str) -> None:
        try:
            self._api.delete(path, gracePeriodSeconds=0, propagationPolicy="Background")
        except ApiError as error:
            if error.status != 404:
                sys.stderr.write(f"{path} is not deleted: {error}\n")
