"""The objects of the probe, two server pods and four Services, and their status."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubeprobe_client import Run

from probes._objects import metadata, pod_spec

Json = dict[str, Any]

PORT = 8080
SERVICE_PORT = 80
GROUP_LABEL = "kubeprobe.io/server"


@dataclass(frozen=True)
class Backend:
    """A server pod: it answers with its name."""

    name: str
    address: str
    node: str
    node_address: str

    def __str__(self) -> str:
        return f"pod {self.name} ({self.address}, node {self.node})"


def server_pod(run: Run, name: str, namespace: str, group: str, image: str, seconds: float) -> Json:
    """A pod that answers every HTTP request with its own name; it ends by itself after `seconds`."""
    serve = f"echo {name} > /www/index.html; httpd -f -p {PORT} -h /www &"
    # The shell handles SIGTERM: otherwise, as process 1, it would be killed only after the grace period.
    script = f"trap 'exit 0' TERM; {serve} sleep {round(seconds)} & wait"
    container = {
        "name": "server",
        "image": image,
        "command": ["sh", "-c", script],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 2},
        "volumeMounts": [{"name": "www", "mountPath": "/www"}],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {GROUP_LABEL: group}},
    }
    spec = pod_spec(
        container,
        restartPolicy="Never",
        activeDeadlineSeconds=round(seconds),
        topologySpreadConstraints=[spread],
        volumes=[{"name": "www", "emptyDir": {"sizeLimit": "1Mi"}}],
    )
    meta = metadata(run, name, namespace, **{GROUP_LABEL: group})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def service(run: Run, name: str, namespace: str, group: str, **spec: Any) -> Json:
    """A Service of the group's pods."""
    ports = [{"name": "http", "port": SERVICE_PORT, "targetPort": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(run, name, namespace),
        "spec": {"selector": {GROUP_LABEL: group}, "ports": ports, **spec},
    }


def backend(pod: Json) -> Backend:
    """The server in a ready pod."""
    status = pod["status"]
    return Backend(pod["metadata"]["name"], status["podIP"], pod["spec"]["nodeName"], status["hostIP"])


def ready_addresses(slices: list[Json]) -> dict[str, str]:
    """The addresses of ready endpoints, each with its EndpointSlice."""
    return {address: endpoint_slice["metadata"]["name"] for endpoint_slice, address in _ready(slices)}


def _ready(slices: list[Json]) -> Iterator[tuple[Json, str]]:
    for endpoint_slice in slices:
        for endpoint in endpoint_slice.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                for address in endpoint["addresses"]:
                    yield endpoint_slice, address
