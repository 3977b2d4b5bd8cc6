"""A virtual cluster's syncer: every pod of it has a counterpart on the host, whose status it gets.

It marks them as vcluster does, and like it writes an event on the pod that the host refuses.
    python -m tests.probes.engines.pods VIRTUAL_KUBECONFIG HOST_KUBECONFIG HOST_NAMESPACE [FINALIZER]
"""

import secrets
import sys
from pathlib import Path

from probes._api import Api, ApiError
from tests.probes.engines.loop import Json, again_and_again, api_of, unless_missing

NAME = "virtual"
MANAGED_BY = "vcluster.loft.sh/managed-by"
OBJECT_NAME = "vcluster.loft.sh/object-name"
OBJECT_NAMESPACE = "vcluster.loft.sh/object-namespace"
_OF_VIRTUAL = ("serviceAccount", "serviceAccountName", "nodeName", "tolerations", "priority", "preemptionPolicy")


class Syncer:
    """Both sides, and what it has told already."""

    def __init__(self, virtual: Api, host: Api, namespace: str, finalizer: str) -> None:
        self.virtual = virtual
        self.host = host
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.finalizer = finalizer
        self.told: set[str] = set()

    def sync(self) -> None:
        """Make the host as the virtual cluster is, and tell this of the host."""
        theirs = {pod_name(pod): pod for pod in self.virtual.get("/api/v1/pods")["items"]}
        ours = {pod["metadata"]["name"]: pod for pod in self.host.get(self.pods, labelSelector=MANAGED_BY)["items"]}
        for name, pod in theirs.items():
            if name not in ours:
                self._create(name, pod)
            elif ours[name].get("status", {}).get("phase") != "Pending" or ours[name]["status"].get("conditions"):
                self._tell(pod, ours[name])
        for name, pod in ours.items():
            if name not in theirs and not pod["metadata"].get("deletionTimestamp"):
                unless_missing(lambda name=name: self.host.delete(f"{self.pods}/{name}"))  # type: ignore[misc]

    def _create(self, name: str, pod: Json) -> None:
        metadata = pod["metadata"]
        marks = {OBJECT_NAME: metadata["name"], OBJECT_NAMESPACE: metadata["namespace"]}
        body = {
            "metadata": {
                "name": name,
                "labels": {**metadata.get("labels", {}), MANAGED_BY: NAME},
                "annotations": marks,
                **({"finalizers": [self.finalizer]} if self.finalizer else {}),
            },
            "spec": {key: value for key, value in pod["spec"].items() if key not in _OF_VIRTUAL},
        }
        try:
            unless_missing(lambda: self.host.create(self.pods, body))
        except ApiError as error:
            if metadata["uid"] not in self.told:
                self.told.add(metadata["uid"])
                self._event(pod, f"Error syncing to host cluster: {error}")

    def _tell(self, pod: Json, ours: Json) -> None:
        if pod.get("status") != ours["status"]:
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
            unless_missing(lambda: self.virtual.replace(path, {**pod, "status": ours["status"]}))

    def _event(self, pod: Json, message: str) -> None:
        metadata = pod["metadata"]
        involved = {"kind": "Pod", **{key: metadata[key] for key in ("name", "namespace", "uid")}}
        event = {
            "metadata": {"name": f"sync-{secrets.token_hex(6)}"},
            "involvedObject": involved,
            "type": "Warning",
            "reason": "SyncError",
            "message": message,
        }
        self.virtual.create(f"/api/v1/namespaces/{metadata['namespace']}/events", event)


def pod_name(pod: Json) -> str:
    """What the counterpart is called."""
    return f"{pod['metadata']['name']}-x-{pod['metadata']['namespace']}-x-{NAME}"


if __name__ == "__main__":
    virtual, host, namespace, *more = sys.argv[1:]
    with api_of(Path(virtual)) as one, api_of(Path(host)) as other:
        again_and_again(Syncer(one, other, namespace, more[0] if more else "").sync)
