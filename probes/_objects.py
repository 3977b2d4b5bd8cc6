"""What probes create, and how they take it away again. Used by the black-box probes.

Everything carries the run's labels and, in the pod's own namespace, an ownerReference to the probe's pod: if the
probe is killed, Kubernetes removes the one and KubeProbe's sweeper the other.
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
"""Where the images of probes run: a cluster may have nodes of Windows besides."""
SMALL: Json = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
"""So little that quotas hardly feel it."""


def fresh_name(case: str) -> str:
    """A name that no other run has: `api-crud-5f3a9c0b12de`."""
    return f"{case}-{secrets.token_hex(6)}"


def metadata(run: Run, name: str, namespace: str | None = None, **labels: str) -> Json:
    """The metadata of something that a probe creates; without `namespace` it belongs to the whole cluster.

    Only what is in the pod's own namespace gets an owner: Kubernetes deletes at once what has one elsewhere.
    """
    owner = run.owner_reference(namespace) if namespace else None
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "labels": {**run.labels, **labels},
        **({"ownerReferences": [owner]} if owner else {}),
    }


def pod_spec(container: Json, **fields: Any) -> Json:
    """A pod's spec around one container, complying with `restricted`; fields given by name come on top."""
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
    """Deletes what a probe created, last first, however the probe ends. Use it by `with`.

    What cannot be deleted is told on stderr and left to Kubernetes and the sweeper: cleaning up decides no verdict.
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
        """Create an object that is to be deleted in the end; raises ApiError.

        It counts as created unless it was clearly refused: an answer may be lost.
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
        """Have this object deleted too, which the probe's doings bring about."""
        self._paths.append(path)

    def forget(self, path: str) -> None:
        """The probe has deleted it itself and seen it gone."""
        if path in self._paths:
            self._paths.remove(path)

    def _remove(self, path: str) -> None:
        try:
            self._api.delete(path, gracePeriodSeconds=0, propagationPolicy="Background")
        except ApiError as error:
            if error.status != 404:
                sys.stderr.write(f"{path} is left behind: {error}\n")
