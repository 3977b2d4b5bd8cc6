"""The violations that the example case of the rules probe must detect, on the real cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probes._objects import pod_spec
from tests.probes.scenario import Bed, Fault, State

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
PAUSE = "docker.io/kubeprobe/pause"
WHEN_ALIVE = {"exec": {"command": ["/pause", "-v"]}}


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
    def made(bed: Bed) -> Iterator[None]:
        with bed.cluster.having_at(path, manifest):
            yield

    return made


def _ingress() -> dict[str, Any]:
    backend = {"service": {"name": "front", "port": {"number": 80}}}
    rule = {"host": "front.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"metadata": {"name": "front"}, "spec": {"rules": [rule]}}


FAULTS = [
    Fault(
        "a Deployment has no readiness probe",
        having(DEPLOYMENTS, _deployment(f"{PAUSE}:dev")),
        says=r"^deployments default/rule-breaker: no readiness probe in main: it gets traffic before it can serve it",
    ),
    Fault(
        "a Deployment runs the image `latest`",
        having(DEPLOYMENTS, _deployment(f"{PAUSE}:latest", readinessProbe=WHEN_ALIVE)),
        says=rf"^deployments default/rule-breaker: image {PAUSE}:latest has no version: it changes unseen",
    ),
    Fault(
        "an Ingress has no TLS",
        having(INGRESSES, _ingress()),
        says=r"^ingresses default/front: no TLS for front\.example\.com: what is sent there can be read on its way",
    ),
]
