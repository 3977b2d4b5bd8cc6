"""A complete run on a real Kubernetes, by the user's own commands: beat, queue, pod, exit code, store, alert."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.installation import Installation
from tests.harness.receiver import Received, receiver
from tests.harness.wait import until
from tests.probes.catalog import rights_of
from tests.probes.certificates import expiring_certificate

PROBES = Path(__file__).parents[2] / "probes"
FOLDERS = ("pod_lifecycle", "certificate_expiry")
CATALOG = """
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: often}
spec:
  cases: [pod-lifecycle, certificate-expiry]
  clusters: {selector: {matchLabels: {region: eu}}}
  on:
    periodic: {every: 10s}
    change: {component: coredns}
---
apiVersion: kubeprobe.io/v1
kind: AlertRoute
metadata: {name: on-call}
spec:
  targets:
    - name: hook
      webhook: {url: "%s", secretFrom: {env: HOOK_SECRET}}
"""


class User:
    """Types commands, reads their output."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def types(self, *command: str, code: int = 0) -> str:
        return self._runs([str(Path(sys.executable).parent / "kubeprobe"), *command], code)

    def runs_in_python(self, script: str, *arguments: str) -> str:
        """Run a script as in a Python shell, with many runs per start."""
        return self._runs([sys.executable, "-c", script, *arguments], 0)

    def _runs(self, command: list[str], code: int) -> str:
        done = subprocess.run(
            command,
            env=self._installation.env(),
            cwd=self._installation.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def reads(self, *command: str, code: int = 0) -> Any:
        return json.loads(self.types(*command, "--output", "json", code=code))

    def verdicts(self, case: str) -> list[str]:
        """The verdicts of a case, newest first."""
        return [run["verdict"] for run in self.reads("runs", "--case", case) if run["verdict"]]


@pytest.fixture
def notifications() -> Iterator[Received]:
    with receiver() as received:
        yield received


@pytest.fixture
def namespace(kubeconfig: Path) -> Iterator[str]:
    """The namespace with the requirements of the two probes."""
    kubectl("create", "namespace", "kubeprobe", check=False)
    for folder in FOLDERS:
        kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": rights_of(folder)}))
    yield "kubeprobe"
    kubectl("-n", "kubeprobe", "delete", "secret", "nearly-over", "--ignore-not-found")


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    with Installation(tmp_path, database_url, {"HOOK_SECRET": "of the tests"}) as installation:
        yield installation


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    return subprocess.run(["kubectl", *arguments], check=check, capture_output=True, text=True, input=stdin).stdout


def break_a_certificate() -> None:
    pem, key = expiring_certificate(5, "nearly-over")
    for name, text in (("tls.crt", pem), ("tls.key", key)):
        Path(name).write_bytes(text)
    kubectl("-n", "kubeprobe", "create", "secret", "tls", "nearly-over", "--cert=tls.crt", "--key=tls.key")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_fault_on_a_real_cluster_is_detected_and_notified_once_and_so_is_its_recovery(
    installation: Installation,
    namespace: str,
    kubeconfig: Path,
    notifications: Received,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    user = User(installation)
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "bindings.yaml").write_text(CATALOG % notifications.url)
    for folder in FOLDERS:
        (tmp_path / "catalog" / f"{folder}.yaml").write_text((PROBES / folder / "catalog.yaml").read_text())

    user.types("cluster", "add", "prod-1", "--kubeconfig", str(kubeconfig), "--label", "region=eu", "--label", "wave=1")
    user.types("cluster", "check", "prod-1", "--image", "docker.io/kubeprobe/busybox:dev")
    user.types("plan", "-f", "catalog")
    user.types("apply", "-f", "catalog")
    installation.start_all()

    # Healthy: both cases pass, without notifications.
    for case in ("pod-lifecycle", "certificate-expiry"):
        until(f"{case} to pass", lambda c=case: "pass" in user.verdicts(c), within_s=120, every_s=1)
    assert notifications.messages == []
    user.types("run", "certificate-expiry", "--cluster", "prod-1", "--wait")

    # Broken: detected by the periodic run, named, and notified once for all failures.
    break_a_certificate()
    until("a notification of the fault", lambda: notifications.messages, within_s=120)
    until("a second fail", lambda: user.verdicts("certificate-expiry")[:2] == ["fail", "fail"], within_s=120, every_s=1)
    assert len(notifications.messages) == 1
    assert "kubeprobe/nearly-over" in json.dumps(notifications.messages[0])
    assert notifications.headers[0]["X-KubeProbe-Signature"].startswith("t=")
    failing = user.reads("run", "certificate-expiry", "--cluster", "prod-1", "--wait", code=1)
    assert "nearly-over" in json.dumps(failing)

    # Fixed: also notified once.
    kubectl("-n", "kubeprobe", "delete", "secret", "nearly-over")
    until("a notification of the recovery", lambda: len(notifications.messages) == 2, within_s=120)
    assert (notifications.messages[0]["kind"], notifications.messages[1]["kind"]) == ("failed", "recovered")

    # A change opens one run of every case bound to its component.
    change = ("change", "--component", "coredns", "--version", "1.12", "--cluster", "prod-1", "--id", "rollout-1")
    user.types(*change)
    user.types(*change)
    until(
        "the runs of the change",
        lambda: (
            sorted(r["case"] for r in user.reads("runs", "--trigger", "change") if r["verdict"] == "pass")
            == ["certificate-expiry", "pod-lifecycle"]
        ),
        within_s=120,
        every_s=1,
    )
    assert user.types("show", user.reads("runs", "--trigger", "change")[0]["id"])
    user.types("cluster", "cordon", "prod-1")  # otherwise the next run already has its pod
    until("no pod left", lambda: not pods_of_ours(), within_s=60, every_s=1)


def pods_of_ours() -> list[str]:
    selector = "app.kubernetes.io/managed-by=kubeprobe"
    return kubectl("-n", "kubeprobe", "get", "pods", "-l", selector, "-o", "name").split()
