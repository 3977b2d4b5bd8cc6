"""The violations that the example case of the rules probe must detect, on the real cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probes._objects import pod_spec
from tests.probes.scenario import Bed, Fault, State

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
PAUSE = "docker.io/kubeprobe/pause"
READINESS_PROBE = {"exec": {"command": ["/pause", "-v"]}}


def _deployment(image: str, **container: Any) -> dict[str, Any]:
    labels = {"app": "rule-breaker"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec({"name": "main", "image": image, **container})}
    return {
        "metadata": {"name": "rule-breaker"},
        # It needs replicas to be checked, but need not run.
        "spec": {"replicas": 1, "paused": True, "selector": {"matchLabels": labels}, "template": template},
    }


def having(path: str, manifest: dict[str, Any]) -> State:
    """A state in which this object exists."""

    @contextmanager
    def created(bed: Bed) -> Iterator[None]:
        with bed.cluster.having_at(path, manifest):
            yield

    return created


def _ingress() -> dict[str, Any]:
    backend = {"service": {"name": "front", "port": {"number": 80}}}
    rule = {"host": "front.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"metadata": {"name": "front"}, "spec": {"rules": [rule]}}


FAULTS = [
    Fault(
        "a Deployment has no readiness probe",
        having(DEPLOYMENTS, _deployment(f"{PAUSE}:dev")),
        says=r"^deployments default/rule-breaker: no readiness probe in main: it receives requests before it is ready",
    ),
    Fault(
        "a Deployment runs the image `latest`",
        having(DEPLOYMENTS, _deployment(f"{PAUSE}:latest", readinessProbe=READINESS_PROBE)),
        says=rf"^deployments default/rule-breaker: image {PAUSE}:latest has no fixed version: it may change",
    ),
    Fault(
        "an Ingress has no TLS",
        having(INGRESSES, _ingress()),
        says=r"^ingresses default/front: no TLS for front\.example\.com: its traffic is not encrypted",
    ),
]
