"""The claim and the pods of the probe, and the meaning of their status."""

from decimal import Decimal
from typing import Any

from kubeprobe_client import Run

from probes._objects import metadata, pod_spec
from probes._quantities import quantity

Json = dict[str, Any]

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
FILE = "/volume/kubeprobe"
_DIFFERENT = 3  # the reader's exit code


def claim(run: Run, name: str, namespace: str, storage_class: str, settings: Any) -> Json:
    """A claim of the requested size."""
    spec = {
        "storageClassName": storage_class,
        "accessModes": [settings.access_mode],
        "resources": {"requests": {"storage": settings.size}},
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(run, name, namespace),
        "spec": spec,
    }


def writer(token: str) -> str:
    """A script that writes the token and syncs it to the disk."""
    return f"echo {token} > {FILE} && sync && echo written"


def reader(token: str) -> str:
    """A script that compares the token, reports a difference, and then waits to be deleted.

    The shell handles SIGTERM: otherwise, as process 1, it would be killed only after the grace period.
    """
    compare = f'found=$(cat {FILE} 2>&1); if [ "$found" != {token} ]; then echo "$found" > /dev/termination-log; '
    return f"{compare} exit {_DIFFERENT}; fi; trap 'exit 0' TERM; sleep 3600 & wait"


def pod(run: Run, names: tuple[str, str, str], image: str, script: str, seconds: float, ready: str = "") -> Json:
    """A pod with the volume mounted; `names` are the pod's, the namespace's and the claim's. It ends after `seconds`.

    `ready`: the file content for readiness.
    """
    name, namespace, claim_name = names
    container: Json = {
        "name": "user",
        "image": image,
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "volume", "mountPath": "/volume"}],
    }
    if ready:
        check = ["sh", "-c", f'[ "$(cat {FILE})" = {ready} ]']
        container["readinessProbe"] = {"exec": {"command": check}, "periodSeconds": 1, "timeoutSeconds": 5}
    spec = pod_spec(
        container,
        restartPolicy="Never",
        activeDeadlineSeconds=round(seconds),
        volumes=[{"name": "volume", "persistentVolumeClaim": {"claimName": claim_name}}],
    )
    # The pod's user owns the volume, if the driver supports fsGroup.
    spec["securityContext"] = {**spec["securityContext"], "fsGroup": spec["securityContext"]["runAsGroup"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata(run, name, namespace), "spec": spec}


def choose_class(classes: list[Json], name: str) -> Json | None:
    """The StorageClass of this name, or the default one (the newest, as in Kubernetes) if none is requested."""
    if name:
        return next((one for one in classes if one["metadata"]["name"] == name), None)
    defaults = [one for one in classes if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
    return max(defaults, key=lambda one: str(one["metadata"].get("creationTimestamp", "")), default=None)


def waits_for_pod(storage_class: Json) -> bool:
    """Whether a claim is bound only when a pod uses it."""
    return bool(storage_class.get("volumeBindingMode") == "WaitForFirstConsumer")


def is_bound(claim_object: Json) -> bool:
    """Whether the claim has its volume."""
    return bool((claim_object.get("status") or {}).get("phase") == "Bound")


def why_not_bound(claim_object: Json, storage_class: Json) -> str:
    """The observed state of a claim without a volume."""
    phase = (claim_object.get("status") or {}).get("phase", "Pending")
    name, provisioner = storage_class["metadata"]["name"], storage_class["provisioner"]
    return f"{phase}: provisioner {provisioner} of StorageClass {name} has created no volume"


def size_of(quantity_or_none: str | None) -> Decimal:
    """The bytes of a quantity; 0 if it is missing."""
    try:
        return quantity(quantity_or_none or "0")
    except ValueError:
        return Decimal(0)


def is_expanded(claim_object: Json, wanted: str) -> bool:
    """Whether a claim has at least the requested size; the storage's minimum size may be larger."""
    capacity = (claim_object.get("status") or {}).get("capacity") or {}
    return size_of(capacity.get("storage")) >= size_of(wanted)


def why_not_expanded(claim_object: Json, storage_class: Json) -> str:
    """The observed state of a claim that was not expanded."""
    status = claim_object.get("status") or {}
    reasons = [f"{one['type']}: {one.get('message', '')}".rstrip(": ") for one in status.get("conditions") or []]
    reasons += [f"{kind} {state}" for kind, state in (status.get("allocatedResourceStatuses") or {}).items()]
    size = (status.get("capacity") or {}).get("storage")
    why = "; ".join(reasons) or f"no resizer of {storage_class['provisioner']} has processed it"
    return f"its capacity is still {size}: {why}"


def different_content(reader_pod: Json) -> str | None:
    """The content that the reader found instead of the written one; None if it found no difference."""
    for container in (reader_pod.get("status") or {}).get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode") == _DIFFERENT:
            return str(ended.get("message") or "nothing").strip()
    return None


def why_not_deleted(body: Json) -> str:
    """The finalizers that hold a deleted object."""
    finalizers = ", ".join(body["metadata"].get("finalizers") or [])
    return f"held by the finalizers {finalizers}" if finalizers else "it has no finalizers"
