"""The probes on the local cluster: they pass, and fail for the right reason."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes._access import find_access
from probes._api import Api
from tests.probes.certificates import expiring_certificate, tls_secret, tls_server
from tests.probes.clusters import ProbedCluster
from tests.probes.paths import CLIENT, NAMESPACE, REPOSITORY

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def cluster() -> Iterator[ProbedCluster]:
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{CLIENT}"}
    command = [sys.executable, "-m", "kubeprobe.localcluster"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert "kubeconfig" in words, words
        access = find_access({"KUBECONFIG": words[words.index("kubeconfig") + 1]})
        with Api(access) as api:
            yield ProbedCluster(api)
        process.terminate()


def test_pod_lifecycle_passes_and_leaves_nothing(cluster: ProbedCluster) -> None:
    ended = cluster.run("pod_lifecycle")
    assert (ended.code, ended.report["ok"]) == (0, True), ended
    assert ended.steps == dict.fromkeys(["create", "ready", "logs", "delete", "gone"], True)
    assert cluster.pods_of(ended.run) == []


def test_pod_lifecycle_names_the_missing_image(cluster: ProbedCluster) -> None:
    ended = cluster.run("pod_lifecycle", IMAGE="docker.io/nobody/nothing:1", READY_TIMEOUT="6")
    assert ended.code == 1
    assert ended.errors[0].startswith("ready: pod not ready after 6 s: ")
    assert "ErrImagePull" in ended.errors[0] or "ImagePullBackOff" in ended.errors[0]
    assert "docker.io/nobody/nothing:1" in " ".join(ended.errors)
    cluster.wait_until_nothing_is_left_of(ended.run)


def test_pod_lifecycle_reports_a_missing_namespace(cluster: ProbedCluster) -> None:
    ended = cluster.run("pod_lifecycle", TARGET_NAMESPACE="nowhere")
    assert ended.code == 1
    assert "404" in ended.errors[0]
    assert '"nowhere" not found' in ended.errors[0]


def test_pod_lifecycle_refuses_an_invalid_parameter(cluster: ProbedCluster) -> None:
    ended = cluster.run("pod_lifecycle", READY_TIMEOUT="half a minute")
    assert ended.code == 2
    assert ended.report["unknown"].startswith("parameter READY_TIMEOUT='half a minute': expected a number")


def test_certificate_expiry_passes_and_reports_plain_http(cluster: ProbedCluster) -> None:
    with cluster.having(NAMESPACE, "secrets", tls_secret("good", *expiring_certificate(300))):
        ended = cluster.run("certificate_expiry")
    assert (ended.code, ended.report["ok"]) == (0, True), ended
    assert "skipped, it uses plain http" in ended.log
    metrics = ended.report["metrics"]
    assert metrics["endpoints_skipped"] == 1
    assert metrics["certificates_checked"] == metrics["secrets_checked"] == 1
    assert 299 < metrics["days_to_first_expiry"] < 301


def test_certificate_expiry_names_each_problem_the_most_urgent_first(cluster: ProbedCluster, tmp_path: Path) -> None:
    secrets = [
        tls_secret("soon", *expiring_certificate(12, "shop", ("shop.example.com",))),
        tls_secret("expired", *expiring_certificate(-2, "old")),
        tls_secret("good", *expiring_certificate(300)),
        tls_secret("garbage", b"no certificate", b"no key"),
    ]
    with (
        cluster.having("default", "secrets", *secrets),
        tls_server(tmp_path, *expiring_certificate(5, "server")) as port,
    ):
        ended = cluster.run("certificate_expiry", ENDPOINTS=f"127.0.0.1:{port}, 127.0.0.1:1")
    assert ended.code == 1
    assert [error.split(": ")[0] for error in ended.errors] == [
        "secret default/expired",
        "endpoint 127.0.0.1:1",
        "secret default/garbage",
        f"endpoint 127.0.0.1:{port}",
        "secret default/soon",
    ]
    assert "CN=shop (SAN shop.example.com) expires on" in ended.errors[-1]
    assert "12.0 days left" in ended.errors[-1]
    assert -2.1 < ended.report["metrics"]["days_to_first_expiry"] < -1.9
