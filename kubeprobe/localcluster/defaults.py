"""The fields that the API server fills in when a client leaves them out.

Pure: returns a new object. `registry` calls it before validation.
"""

from base64 import b64encode
from collections.abc import Callable

from kubeprobe.localcluster.definitions import faults_of_definition
from kubeprobe.localcluster.images import default_pull_policy
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import CRDS, NAMESPACES, PODS, SECRETS, SERVICES, Resource

_POD_SPEC: Object = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "priority": 0,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
}
_CONTAINER: Object = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBE: Object = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
]


def with_defaults(resource: Resource, obj: Object) -> Object:
    """The object with its missing fields filled in."""
    fill = _DEFAULTS.get(resource)
    return fill(obj) if fill else obj


def _pod(obj: Object) -> Object:
    spec = {**_POD_SPEC, **{k: v for k, v in (obj.get("spec") or {}).items() if v is not None}}
    spec["serviceAccountName"] = spec["serviceAccountName"] or "default"
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec["tolerations"] = spec.get("tolerations") or _TOLERATIONS
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [_container(container) for container in spec[field]]
    if spec.get("volumes"):
        spec["volumes"] = [_volume(volume) for volume in spec["volumes"]]
    return {**obj, "spec": spec, "status": {"phase": "Pending", "qosClass": _qos_class(spec)}}


def _container(container: Object) -> Object:
    filled = {**_CONTAINER, "imagePullPolicy": default_pull_policy(container.get("image") or ""), **container}
    resources = filled["resources"] or {}
    if resources.get("limits"):
        requests = {**resources["limits"], **(resources.get("requests") or {})}
        filled["resources"] = {**resources, "requests": requests}
    for field, fill in _CONTAINER_LISTS.items():
        if filled.get(field):
            filled[field] = [fill(item) for item in filled[field]]
    for field in ("readinessProbe", "livenessProbe", "startupProbe"):
        if filled.get(field):
            filled[field] = {**_PROBE, **filled[field]}
    return filled


def _variable(variable: Object) -> Object:
    reference = (variable.get("valueFrom") or {}).get("fieldRef")
    if not reference or "apiVersion" in reference:
        return variable
    return {**variable, "valueFrom": {"fieldRef": {"apiVersion": "v1", **reference}}}


_CONTAINER_LISTS: dict[str, Callable[[Object], Object]] = {
    "env": _variable,
    "ports": lambda port: {"protocol": "TCP", **port},
}


def _volume(volume: Object) -> Object:
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if volume.get(kind):
            return {**volume, kind: {"defaultMode": 420, **volume[kind]}}
    return volume if len(volume) > 1 else {**volume, "emptyDir": {}}


def _qos_class(spec: Object) -> str:
    resources = [container["resources"] or {} for container in spec.get("containers") or ()]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= (r.get("limits") or {}).keys() and r["limits"] == r.get("requests") for r in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _namespace(obj: Object) -> Object:
    metadata = obj["metadata"]
    labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata.get("name", "")}
    return {
        **obj,
        "metadata": {**metadata, "labels": labels},
        "spec": {"finalizers": ["kubernetes"], **(obj.get("spec") or {})},
        "status": {"phase": "Active"},
    }


def _secret(obj: Object) -> Object:
    filled = {"type": "Opaque", **obj}
    texts = filled.pop("stringData", None) or {}
    if texts:
        encoded = {key: b64encode(str(value).encode()).decode() for key, value in texts.items()}
        filled["data"] = {**(filled.get("data") or {}), **encoded}
    return filled


def _service(obj: Object) -> Object:
    spec = {"type": "ClusterIP", "sessionAffinity": "None", **(obj.get("spec") or {})}
    return {**obj, "spec": spec, "status": {"loadBalancer": {}}}


def _definition(obj: Object) -> Object:
    if faults_of_definition(obj):
        return obj  # validation refuses it
    names = obj["spec"]["names"]
    names = {"listKind": f"{names['kind']}List", "singular": names["kind"].lower(), **names}
    conditions = [
        {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"},
        {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": ""},
    ]
    stored = [version["name"] for version in obj["spec"]["versions"] if version.get("storage")]
    status = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}
    return {**obj, "spec": {"conversion": {"strategy": "None"}, **obj["spec"], "names": names}, "status": status}


_DEFAULTS: dict[Resource, Callable[[Object], Object]] = {
    PODS: _pod,
    NAMESPACES: _namespace,
    SECRETS: _secret,
    SERVICES: _service,
    CRDS: _definition,
}
