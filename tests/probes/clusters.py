"""Runs a probe in a cluster as KubeProbe would: its pod from catalog.yaml, its verdict from the pod's status."""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from probes._api import Api, ApiError
from tests.harness.wait import until

NAMESPACE = "kubeprobe"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
PROBES = Path(__file__).parents[2] / "probes"
Json = dict[str, Any]

RESTRICTED_POD = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Ended:
    """How a probe ended: its container's exit code, its report, its log."""

    code: int
    report: Json
    log: str
    run: str

    @property
    def errors(self) -> list[str]:
        """The report's errors."""
        found: list[str] = self.report["errors"]
        return found

    @property
    def steps(self) -> dict[str, bool]:
        """Which steps there were, and whether they went well."""
        return {step["name"]: step["ok"] for step in self.report["steps"]}


class ProbedCluster:
    """A cluster that probes run in, by its administrator's API."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def start(self, folder: str, node: str = "", **env: str) -> tuple[str, str]:
        """Create the probe's pod; its name and its run's id. With `node`, past the scheduler."""
        run = "01test" + secrets.token_hex(10)
        pod = probe_pod(folder, run, env)
        if node:
            pod["spec"]["nodeName"] = node
        self.api.create(PODS, pod)
        return pod["metadata"]["name"], run

    def run(self, folder: str, node: str = "", **env: str) -> Ended:
        """Run a probe to its end and delete its pod."""
        name, run = self.start(folder, node, **env)
        pod = self._wait_for_end(name)
        log = self.api.text(f"{PODS}/{name}/log")
        self.api.delete(f"{PODS}/{name}", gracePeriodSeconds=0)
        [container] = pod["status"]["containerStatuses"]
        ended = container["state"]["terminated"]
        return Ended(ended["exitCode"], json.loads(ended.get("message") or "{}"), log, run)

    def pods_of(self, run: str, namespace: str = NAMESPACE) -> list[Json]:
        """What a run's probe has created and not removed (its own pod is not among it)."""
        found = self.api.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"kubeprobe.io/run={run}")
        return [pod for pod in found["items"] if "kubeprobe.io/case" not in pod["metadata"].get("labels", {})]

    def wait_until_nothing_is_left_of(self, run: str, within_s: float = 30) -> None:
        """Wait until all that a run's probe created is gone."""
        until(f"nothing left of run {run}", lambda: not self.pods_of(run), within_s)

    @contextmanager
    def having(self, namespace: str, kind: str, *manifests: Json) -> Iterator[None]:
        """While these objects exist."""
        path = f"/api/v1/namespaces/{namespace}/{kind}"
        with ExitStack() as stack:
            for manifest in manifests:
                self.api.create(path, manifest)
                stack.callback(self.api.delete, f"{path}/{manifest['metadata']['name']}")
            yield

    def _wait_for_end(self, name: str, seconds: float = 120) -> Json:
        deadline = time.monotonic() + seconds
        while True:
            pod = self.api.get(f"{PODS}/{name}")
            if pod["status"].get("phase") in ("Succeeded", "Failed"):
                return pod
            if time.monotonic() > deadline:
                raise AssertionError(f"probe pod {name} did not end: {json.dumps(pod['status'])}")
            version = pod["metadata"]["resourceVersion"]
            for event in self.api.watch(PODS, 20, fieldSelector=f"metadata.name={name}", resourceVersion=version):
                if event["object"]["status"].get("phase") in ("Succeeded", "Failed"):
                    return event["object"]


def ensure_namespace(api: Api) -> None:
    """The probes' namespace, where only pods that comply with `restricted` are let in."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    try:
        api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    except ApiError as error:
        if error.status != 409:
            raise


def probe_pod(folder: str, run: str, env: dict[str, str]) -> Json:
    """The probe's pod, as KubeProbe renders it."""
    template, case = yaml.safe_load_all((PROBES / folder / "catalog.yaml").read_text())
    name = f"{template['metadata']['name']}-{run[-8:]}"
    values = {
        "KUBEPROBE_RUN_ID": run,
        "KUBEPROBE_INSTALLATION": "test",
        "KUBEPROBE_CASE": case["metadata"]["name"],
        "KUBEPROBE_CLUSTER": "test",
        "KUBEPROBE_TRIGGER": "manual",
        "KUBEPROBE_RUN_TIMEOUT": case["spec"]["timeouts"]["run"].rstrip("s"),
        "KUBEPROBE_REPORT_FILE": "/dev/termination-log",
        **case["spec"]["parameters"],
        **env,
    }
    fields = {"POD_NAME": "metadata.name", "POD_UID": "metadata.uid", "NAMESPACE": "metadata.namespace"}
    environment: list[Json] = [{"name": key, "value": value} for key, value in values.items()]
    environment += [
        {"name": f"KUBEPROBE_{key}", "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()
    ]
    spec = template["spec"]
    container = {
        "name": "probe",
        "image": spec["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": spec["command"],
        "env": environment,
        "resources": spec["resources"],
        "securityContext": RESTRICTED_CONTAINER,
    }
    labels = {
        "kubeprobe.io/installation": "test",
        "kubeprobe.io/run": run,
        "kubeprobe.io/case": case["metadata"]["name"],
        "app.kubernetes.io/managed-by": "kubeprobe",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": spec["serviceAccountName"],
            "securityContext": RESTRICTED_POD,
            "terminationGracePeriodSeconds": 5,
            "containers": [container],
        },
    }
