"""Runs a probe in a cluster as KubeProbe does: its pod is rendered, its verdict comes from the pod's status."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from kubeprobe import vocabulary
from kubeprobe.catalog import RunIdentity, render_pod
from kubeprobe.catalog.model.rule import rules_variable
from probes._api import Api, ApiError
from tests.harness.wait import until
from tests.probes.catalog import CLUSTER, case_of, catalog_of, namespace_of, rights_of
from tests.probes.leftovers import left_by
from tests.probes.paths import CLIENT, NAMESPACE, REPOSITORY, Json, pods_in
from tests.probes.rights import grant

INSTALLATION = "test"
WITHIN_S = 150.0
_TRANSIENT = {0, 410, 429, 500, 502, 503, 504}
"""Errors while an API server or etcd starts, after which the pod is read again."""


@dataclass(frozen=True)
class Ended:
    """How a probe ended: its container's exit code, its report, its log."""

    code: int
    report: Json
    log: str
    run: str
    seconds: float = 0.0
    """Seconds from the pod's creation (the process's start) until its end was observed."""

    @property
    def verdict(self) -> str:
        """KubeProbe's verdict for a report that agrees with the exit code."""
        return {0: "pass", 1: "fail"}.get(self.code, "unknown")

    @property
    def errors(self) -> list[str]:
        """The report's errors, or the reason for giving up."""
        found: list[str] = self.report.get("errors") or [self.report.get("unknown", "")]
        return found

    @property
    def steps(self) -> dict[str, bool]:
        """The steps, and whether each succeeded."""
        return {step["name"]: step["ok"] for step in self.report["steps"]}


class ProbedCluster:
    """A cluster for probes, with its administrator's API."""

    def __init__(self, api: Api, kubeconfig: Path | None = None) -> None:
        self.api = api
        self._kubeconfig = kubeconfig
        self._granted: set[str] = set()

    def with_connection(self, api: Api) -> "ProbedCluster":
        """The same cluster over another connection, for another thread."""
        other = ProbedCluster(api, self._kubeconfig)
        other._granted = self._granted
        return other

    def grant_rights(self, folder: str) -> None:
        """Create a probe's namespace, account and roles, as `kubeprobe cluster setup` does."""
        if folder not in self._granted:
            grant(self.api, rights_of(folder))
            self._granted.add(folder)

    def start(self, folder: str, node: str = "", account: str = "", **env: str) -> tuple[str, str]:
        """Create the probe's pod; its name and its run's id. With `node`, without the scheduler."""
        self.grant_rights(folder)
        run = "01test" + secrets.token_hex(10)
        namespace = namespace_of(folder)
        identity = RunIdentity(run, INSTALLATION, case_of(folder), CLUSTER, "manual", namespace, parameters=env)
        pod = render_pod(catalog_of(folder), identity)
        pod["spec"] |= {"terminationGracePeriodSeconds": 5} | ({"nodeName": node} if node else {})
        pod["spec"] |= {"serviceAccountName": account} if account else {}
        self.api.create(pods_in(namespace), pod)
        return pod["metadata"]["name"], run

    def run(self, folder: str, node: str = "", **env: str) -> Ended:
        """Run a probe and delete its pod."""
        began = time.monotonic()
        name, run = self.start(folder, node, **env)
        return self.finish(folder, name, run, began)

    def finish(self, folder: str, name: str, run: str, began: float = 0.0) -> Ended:
        """Wait until a probe's pod has ended, and delete it."""
        pods = pods_in(namespace_of(folder))
        pod = self._wait_for_end(f"{pods}/{name}")
        seconds = time.monotonic() - began if began else 0.0
        log = self.api.text(f"{pods}/{name}/log", container="probe")
        self.api.delete(f"{pods}/{name}", gracePeriodSeconds=0)
        [container] = [one for one in pod["status"]["containerStatuses"] if one["name"] == "probe"]
        ended = container["state"]["terminated"]
        return Ended(ended["exitCode"], json.loads(ended.get("message") or "{}"), log, run, seconds)

    def process(self, folder: str, tmp: Path, **env: str) -> "ProbeProcess":
        """A probe as a process outside of the cluster, with its account's token, for faults that affect pods.

        It gets its token now, so that it can start while the API is unavailable.
        """
        assert self._kubeconfig is not None, "without a kubeconfig a probe cannot run as a process"
        self.grant_rights(folder)
        account = f"kubeprobe-{case_of(folder)}"
        namespace = namespace_of(folder)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        token = self.api.create(path, {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}})
        config = yaml.safe_load(self._kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token["status"]["token"]}
        own = tmp / f"{case_of(folder)}.kubeconfig"
        own.write_text(json.dumps(config))
        return ProbeProcess(folder, own, tmp / f"{case_of(folder)}.report", env)

    def pods_of(self, run: str, namespace: str = NAMESPACE) -> list[Json]:
        """The remaining pods that a run's probe has created (not its own pod)."""
        found = self.api.get(pods_in(namespace), labelSelector=f"kubeprobe.io/run={run}")
        return [pod for pod in found["items"] if "kubeprobe.io/case" not in pod["metadata"].get("labels", {})]

    def left_by(self, run: str) -> list[str]:
        """All leftovers of a run's probe, of every kind and namespace."""
        return left_by(self.api, run)

    def wait_until_nothing_is_left_of(self, run: str, within_s: float = 120) -> None:
        """Wait until all objects of a run's probe are deleted."""
        until(f"nothing left of run {run}", lambda: not self.left_by(run), within_s, 0.3, lambda: self.left_by(run))

    @contextmanager
    def having(self, namespace: str, kind: str, *manifests: Json) -> Iterator[None]:
        """While these objects of the core group exist."""
        with self.having_at(f"/api/v1/namespaces/{namespace}/{kind}", *manifests):
            yield

    @contextmanager
    def having_at(self, path: str, *manifests: Json) -> Iterator[None]:
        """While these objects exist in the collection at `path`."""
        with ExitStack() as stack:
            for manifest in manifests:
                self.api.create(path, manifest)
                stack.callback(self.api.delete, f"{path}/{manifest['metadata']['name']}")
            yield

    def _wait_for_end(self, path: str) -> Json:
        deadline = time.monotonic() + WITHIN_S
        collection, _, name = path.rpartition("/")
        while True:
            try:
                pod = self.api.get(path)
                if has_ended(pod):
                    return pod
                if time.monotonic() > deadline:
                    log = self.api.text(f"{path}/log", container="probe")
                    raise AssertionError(f"probe pod {name} did not end: {json.dumps(pod['status'])}; its log: {log}")
                version = pod["metadata"]["resourceVersion"]
                query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": version}
                for event in self.api.watch(collection, 20, **query):
                    if has_ended(event["object"]):
                        return event["object"]
            except ApiError as error:
                if error.status not in _TRANSIENT or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@dataclass(frozen=True)
class ProbeProcess:
    """A probe that runs as a process on this machine."""

    folder: str
    kubeconfig: Path
    report: Path
    env: dict[str, str]

    def start(self, run: str, **env: str) -> subprocess.Popen[str]:
        """Start it; it writes its report to `report`."""
        self.report.unlink(missing_ok=True)
        case = catalog_of(self.folder).case(case_of(self.folder))
        return subprocess.Popen(
            [sys.executable, "-m", f"probes.{self.folder}.probe"],
            env={
                **os.environ,
                **case.parameters,
                **({vocabulary.ENV_RULES: rules_variable(case.rules)} if case.rules else {}),
                "PYTHONPATH": f"{REPOSITORY}:{CLIENT}",
                "KUBECONFIG": str(self.kubeconfig),
                "KUBEPROBE_RUN_ID": run,
                "KUBEPROBE_RUN_TIMEOUT": f"{case.timeouts.run.total_seconds():g}",
                "KUBEPROBE_NAMESPACE": namespace_of(self.folder),
                "KUBEPROBE_INSTALLATION": INSTALLATION,
                "KUBEPROBE_REPORT_FILE": str(self.report),
                **self.env,
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **env: str) -> Ended:
        """Run it until it ends."""
        run, began = "01test" + secrets.token_hex(10), time.monotonic()
        with self.start(run, **env) as process:
            log, _ = process.communicate(timeout=WITHIN_S)
        report = json.loads(self.report.read_text()) if self.report.exists() else {}
        return Ended(process.returncode, report, log, run, time.monotonic() - began)


def has_ended(pod: Json) -> bool:
    """Whether the probe's container has ended, independent of other containers."""
    return any(
        status["name"] == "probe" and "terminated" in status.get("state", {})
        for status in pod["status"].get("containerStatuses") or ()
    )
