"""The Deployment and the Service that the probe creates."""

from typing import Any

from kubeprobe_client import Run

from probes._objects import metadata, pod_spec
from probes.canary_deployment.server import PORT

Json = dict[str, Any]

INSTANCE = "app.kubernetes.io/instance"
_DRAINING = 5
"""Seconds that a pod serves after its removal from the endpoints, until all kube-proxies have removed it."""


def selector(name: str) -> str:
    """The label selector of the canary's pods."""
    return f"{INSTANCE}={name}"


def service(run: Run, name: str, namespace: str) -> Json:
    """A Service on port 80 in front of the canary's pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(run, name, namespace, **_labels(name)),
        "spec": {"selector": {INSTANCE: name}, "ports": [{"port": 80, "targetPort": PORT}]},
    }


def deployment(run: Run, name: str, namespace: str, replicas: int, template: Json) -> Json:
    """A Deployment that replaces all pods at once, without reducing the number of ready ones."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(run, name, namespace, **_labels(name)),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {INSTANCE: name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
            "template": template,
        },
    }


def pod_template(run: Run, name: str, image: str, version: str) -> Json:
    """A pod that answers with its version; ready only when it does, and drained before it ends."""
    container = {
        "name": "server",
        "image": image,
        "command": ["python3", "-m", "probes.canary_deployment.server"],
        "env": [{"name": "CANARY_VERSION", "value": version}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_DRAINING)]}}},
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "96Mi"},
        },
    }
    return {
        "metadata": {"labels": {**run.labels, **_labels(name)}},
        "spec": pod_spec(container, terminationGracePeriodSeconds=_DRAINING + 10),
    }


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "kubeprobe-canary-deployment", INSTANCE: name}
