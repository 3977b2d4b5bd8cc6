"""The probes on real Kubernetes, each as a pod with its own role only: seen to pass, and to fail for the right reason.

Run inside the test bed's namespace, with KUBEPROBE_TEST_REAL_KUBECONFIG from `python -m testbed kubeconfig`:
    python -m testbed exec -- python -m pytest -m real tests/probes
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from probes._access import find_access
from probes._api import Api
from testbed.cluster import Testbed
from testbed.instance import DEFAULT_NAME, NAME_VARIABLE, NODE_ADDRESS, NODE_NAME, Instance
from tests.harness.need import lacking
from tests.harness.wait import until
from tests.probes.clusters import NAMESPACE, PODS, PROBES, ProbedCluster, ensure_namespace
from tests.probes.conftest import CLIENT, REPOSITORY
from tests.probes.made import DAY, certificate, ending_in, tls_secret, tls_server

pytestmark = pytest.mark.real

VARIABLE = "KUBEPROBE_TEST_REAL_KUBECONFIG"
FOLDERS = ("pod_lifecycle", "certificate_expiry")
MISSING_IMAGE = "docker.io/kubeprobe/nothing-here:dev"


@pytest.fixture(scope="module")
def kubeconfig() -> str:
    """The administrator's kubeconfig of a running test bed, whose network namespace this process is in."""
    found = os.environ.get(VARIABLE)
    if not found:
        lacking(f"{VARIABLE} names no real cluster; see {Path(__file__).name}")
    return found


@pytest.fixture(scope="module")
def kubectl(kubeconfig: str) -> Callable[..., str]:
    """kubectl as the administrator."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        command = ["kubectl", f"--kubeconfig={kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def cluster(kubeconfig: str, kubectl: Callable[..., str]) -> Iterator[ProbedCluster]:
    """The real cluster, with the probes' roles applied."""
    with Api(find_access({"KUBECONFIG": kubeconfig})) as api:
        ensure_namespace(api)
        for folder in FOLDERS:
            kubectl("apply", "-f", str(PROBES / folder / "rbac.yaml"))
        yield ProbedCluster(api)


@pytest.fixture
def testbed() -> Testbed:
    """Breaks components of the cluster."""
    return Testbed(Instance(os.environ.get(NAME_VARIABLE, DEFAULT_NAME)))


@pytest.fixture
def start_as_process(
    kubeconfig: str, kubectl: Callable[..., str], tmp_path: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Start a probe beside the cluster, with its service account's token: for when no pod can be run."""

    def start(folder: str, **env: str) -> subprocess.Popen[str]:
        account = f"kubeprobe-{folder.replace('_', '-')}"
        config = yaml.safe_load(Path(kubeconfig).read_text())
        config["users"][0]["user"] = {"token": kubectl("-n", NAMESPACE, "create", "token", account).strip()}
        own = tmp_path / "kubeconfig"
        own.write_text(json.dumps(config))
        return subprocess.Popen(
            [sys.executable, "-m", f"probes.{folder}.probe"],
            env={
                **os.environ,
                "PYTHONPATH": f"{REPOSITORY}:{CLIENT}",
                "KUBECONFIG": str(own),
                "KUBEPROBE_NAMESPACE": NAMESPACE,
                "KUBEPROBE_INSTALLATION": "test",
                "KUBEPROBE_REPORT_FILE": str(tmp_path / "report"),
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@contextmanager
def stopped(testbed: Testbed, component: str) -> Iterator[None]:
    """Without this component for a while."""
    testbed.stop(component)
    try:
        yield
    finally:
        testbed.start(component)


# ---- pod-lifecycle


def test_pod_lifecycle_passes_with_its_role_only_and_leaves_nothing(cluster: ProbedCluster) -> None:
    ended = cluster.run("pod_lifecycle")
    assert (ended.code, ended.report["ok"]) == (0, True), ended
    assert ended.steps == dict.fromkeys(["create", "ready", "logs", "delete", "gone"], True)
    assert cluster.pods_of(ended.run) == []


def test_pod_lifecycle_names_the_image_that_cannot_be_pulled(cluster: ProbedCluster) -> None:
    ended = cluster.run("pod_lifecycle", IMAGE=MISSING_IMAGE, READY_TIMEOUT="6")
    assert ended.code == 1
    assert ended.errors[0].startswith("ready: pod not ready after 6 s: ")
    assert "ErrImagePull" in ended.errors[0] or "ImagePullBackOff" in ended.errors[0]
    assert MISSING_IMAGE in " ".join(ended.errors)
    assert ended.steps == {"create": True, "ready": False}
    cluster.wait_until_nothing_is_left_of(ended.run)


def test_pod_lifecycle_tells_that_the_quota_is_full(cluster: ProbedCluster) -> None:
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"requests.cpu": "55m"}}}
    with cluster.having(NAMESPACE, "resourcequotas", quota):
        known = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/full"
        until("the quota to be counted", lambda: cluster.api.get(known).get("status", {}).get("hard"))
        ended = cluster.run("pod_lifecycle")
    assert ended.code == 1
    assert ended.errors[0].startswith("create: 403 Forbidden: ")
    assert "exceeded quota: full" in ended.errors[0]


def test_pod_lifecycle_tells_that_no_node_takes_the_pod(cluster: ProbedCluster, kubectl: Callable[..., str]) -> None:
    kubectl("cordon", NODE_NAME)
    try:
        ended = cluster.run("pod_lifecycle", node=NODE_NAME, READY_TIMEOUT="4")
    finally:
        kubectl("uncordon", NODE_NAME)
    assert ended.code == 1
    assert ended.errors[0].startswith("ready: pod not ready after 4 s: Unschedulable: 0/1 nodes are available: ")
    assert "were unschedulable" in ended.errors[0]


def test_pod_lifecycle_tells_that_the_scheduler_is_down(cluster: ProbedCluster, testbed: Testbed) -> None:
    with stopped(testbed, "kube-scheduler"):
        ended = cluster.run("pod_lifecycle", node=NODE_NAME, READY_TIMEOUT="4")
    assert ended.code == 1
    assert ended.errors == ["ready: pod not ready after 4 s: Pending: no scheduler has looked at it"]


def test_pod_lifecycle_tells_that_the_kubelet_is_down(
    cluster: ProbedCluster, testbed: Testbed, start_as_process: Callable[..., subprocess.Popen[str]]
) -> None:
    with stopped(testbed, "kubelet"):
        with start_as_process("pod_lifecycle", KUBEPROBE_RUN_ID="kubelet-down", READY_TIMEOUT="4") as process:
            out, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "not ready after 4 s: Pending: scheduled to node node, whose kubelet has not taken it up" in out
        cluster.wait_until_nothing_is_left_of("kubelet-down")


def test_pod_lifecycle_cleans_up_when_it_is_told_to_end(
    cluster: ProbedCluster, start_as_process: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    with start_as_process("pod_lifecycle", KUBEPROBE_RUN_ID="ended", IMAGE=MISSING_IMAGE) as process:
        until("the probe's pod", lambda: cluster.pods_of("ended"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert not (tmp_path / "report").exists()
    cluster.wait_until_nothing_is_left_of("ended")


def test_kubernetes_removes_the_pod_of_a_probe_that_was_killed(cluster: ProbedCluster) -> None:
    name, run = cluster.start("pod_lifecycle", IMAGE=MISSING_IMAGE, READY_TIMEOUT="60")
    until("the probe's pod", lambda: cluster.pods_of(run))
    cluster.api.delete(f"{PODS}/{name}", gracePeriodSeconds=0)
    cluster.wait_until_nothing_is_left_of(run, within_s=60)


@pytest.mark.parametrize(
    ("resource", "verb"), [("pods", "create"), ("pods", "watch"), ("pods/log", "get"), ("pods", "delete")]
)
def test_pod_lifecycle_without_a_permission_is_unknown_and_names_it(
    cluster: ProbedCluster, kubectl: Callable[..., str], resource: str, verb: str
) -> None:
    manifests = list(yaml.safe_load_all((PROBES / "pod_lifecycle" / "rbac.yaml").read_text()))
    [role] = [one for one in manifests if one["kind"] == "Role"]
    full = json.dumps(role)
    for rule in role["rules"]:
        if rule["resources"] == [resource]:
            rule["verbs"] = [kept for kept in rule["verbs"] if kept != verb]
    role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
    kubectl("apply", "-f", "-", stdin=json.dumps(role))
    try:
        ended = cluster.run("pod_lifecycle")
    finally:
        kubectl("apply", "-f", "-", stdin=full)
        kubectl("-n", NAMESPACE, "delete", "pods", "-l", "app.kubernetes.io/name=kubeprobe-pod-lifecycle", "--now")
    assert ended.code == 2
    assert ended.report == {"unknown": f"permission missing: {verb} {resource} in {NAMESPACE}"}


# ---- certificate-expiry


def test_certificate_expiry_passes_with_its_role_only(cluster: ProbedCluster) -> None:
    with cluster.having("default", "secrets", tls_secret("good", *ending_in(300))):
        ended = cluster.run("certificate_expiry")
    assert (ended.code, ended.report["ok"]) == (0, True), ended
    metrics = ended.report["metrics"]
    assert metrics["endpoints_checked"] == 1  # the API server
    assert metrics["certificates_checked"] == 2
    assert metrics["days_to_first_expiry"] > 30


def test_certificate_expiry_names_each_secret_that_is_a_problem(cluster: ProbedCluster) -> None:
    now = datetime.now(UTC)
    early = certificate("early", now + 3 * DAY, now + 300 * DAY)
    default = [tls_secret("expired", *ending_in(-2, "old")), tls_secret("good", *ending_in(300))]
    soon = tls_secret("soon", *ending_in(12, "shop", ("shop.example.com",)))
    system = [soon, tls_secret("early", *early)]
    garbage = tls_secret("garbage", b"no certificate", b"no key")
    with (
        cluster.having("default", "secrets", *default),
        cluster.having("kube-system", "secrets", *system),
        cluster.having(NAMESPACE, "secrets", garbage),
    ):
        ended = cluster.run("certificate_expiry")
    assert ended.code == 1
    assert [error.split(": ")[0] for error in ended.errors] == [
        "secret default/expired",
        "secret kubeprobe/garbage",
        "secret kube-system/soon",
        "secret kube-system/early",
    ]
    assert "CN=old expired on" in ended.errors[0]
    assert "CN=shop (SAN shop.example.com) expires on" in ended.errors[2]
    assert "is not valid before" in ended.errors[3]
    assert ended.report["metrics"]["secrets_checked"] == 5


def test_certificate_expiry_sees_what_a_server_shows(cluster: ProbedCluster, tmp_path: Path) -> None:
    with tls_server(tmp_path, *ending_in(5, "server"), host=NODE_ADDRESS) as port:
        ended = cluster.run("certificate_expiry", ENDPOINTS=f"{NODE_ADDRESS}:{port} {NODE_ADDRESS}:9")
    assert ended.code == 1
    assert len(ended.errors) == 2
    assert ended.errors[0].startswith(f"endpoint {NODE_ADDRESS}:9: no TLS handshake: ")
    assert ended.errors[1].startswith(f"endpoint {NODE_ADDRESS}:{port}: CN=server expires on ")


def test_certificate_expiry_looks_at_the_api_server(cluster: ProbedCluster) -> None:
    ended = cluster.run("certificate_expiry", WARN_DAYS="100000")
    assert ended.code == 1
    [error] = ended.errors
    assert error.startswith("endpoint 10.96.0.1:443: CN=kube-apiserver (SAN ")


def test_certificate_expiry_reads_more_secrets_than_fit_on_a_page(cluster: ProbedCluster) -> None:
    pem, key = ending_in(300)
    many = [tls_secret(f"many-{number}", pem, key) for number in range(205)]
    with cluster.having("default", "secrets", *many):
        ended = cluster.run("certificate_expiry")
    assert ended.report["metrics"]["secrets_checked"] == 205


def test_certificate_expiry_without_its_permission_is_unknown_and_names_it(
    cluster: ProbedCluster, kubectl: Callable[..., str]
) -> None:
    kubectl("delete", "clusterrolebinding", "kubeprobe-certificate-expiry")
    try:
        ended = cluster.run("certificate_expiry")
        one = cluster.run("certificate_expiry", NAMESPACES="default")
    finally:
        kubectl("apply", "-f", str(PROBES / "certificate_expiry" / "rbac.yaml"))
    assert ended.code == one.code == 2
    assert ended.report == {"unknown": "permission missing: list secrets at the cluster scope"}
    assert one.report == {"unknown": "permission missing: list secrets in default"}
