"""The test bed behaves as a real cluster, and no traffic leaves it."""

import json
import subprocess
import sys
from typing import Any

from testbed import Testbed
from tests.harness.wait import until

BUSYBOX = "docker.io/kubeprobe/busybox:dev"
PROBES = "docker.io/kubeprobe/probes:dev"


def test_a_pods_exit_code_and_termination_message_arrive(cluster: Testbed) -> None:
    pod = finished(cluster, "exits", BUSYBOX, ["sh", "-c", "echo because > /dev/termination-log; exit 3"])

    terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["message"]) == (3, "because\n")


def test_logs_of_a_pod_can_be_read(cluster: Testbed) -> None:
    finished(cluster, "speaks", BUSYBOX, ["echo", "hello"])

    assert cluster.kubectl("logs", "speaks") == "hello\n"


def test_a_pod_reaches_the_api_by_service_name_and_authenticates_with_its_token(cluster: Testbed) -> None:
    program = """
import ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
trust = ssl.create_default_context(cafile=account + "ca.crt")
headers = {"Authorization": "Bearer " + open(account + "token").read()}
for path in ("/version", "/api/v1/nodes"):
    request = urllib.request.Request("https://kubernetes.default.svc" + path, headers=headers)
    try:
        print(urllib.request.urlopen(request, context=trust, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code, error.read())
"""
    finished(cluster, "asks", PROBES, ["python3", "-c", program])

    version, nodes = cluster.kubectl("logs", "asks").splitlines()
    assert version == "200"
    assert nodes.startswith("403")
    assert "system:serviceaccount:default:default" in nodes


def test_the_built_in_probes_can_be_imported_in_their_image(cluster: Testbed) -> None:
    modules = "kubeprobe_client, probes.pod_lifecycle.probe, probes.certificate_expiry.probe"
    pod = finished(cluster, "imports", PROBES, ["python3", "-c", f"import {modules}"])

    assert pod["status"]["phase"] == "Succeeded", cluster.kubectl("logs", "imports")


def test_a_name_outside_of_the_cluster_does_not_exist(cluster: Testbed) -> None:
    pod = finished(cluster, "resolves", BUSYBOX, ["nslookup", "example.com"])

    assert pod["status"]["phase"] == "Failed"
    assert "NXDOMAIN" in cluster.kubectl("logs", "resolves")


def test_an_outside_address_fails_at_once_in_pods_and_in_the_namespace(cluster: Testbed) -> None:
    at_once = """
import errno, socket
connection = socket.socket()
connection.setblocking(False)
print(errno.errorcode[connection.connect_ex(("203.0.113.1", 443))])
"""
    beside = subprocess.run(
        cluster.instance.in_namespace([sys.executable, "-c", at_once]), capture_output=True, text=True, check=False
    )
    assert (beside.stdout, beside.stderr) == ("ENETUNREACH\n", "")

    program = "import socket; socket.create_connection(('203.0.113.1', 443), timeout=30)"
    finished(cluster, "strays", PROBES, ["python3", "-c", program])
    assert "Network is unreachable" in cluster.kubectl("logs", "strays")


def test_exec_passes_input_output_and_exit_code_through(cluster: Testbed) -> None:
    command = [sys.executable, "-m", "testbed", "--name", cluster.instance.name, "exec", "--"]
    done = subprocess.run(
        [*command, "sh", "-c", "cat; exit 7"], input="through", capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.returncode) == ("through", 7)


def finished(cluster: Testbed, name: str, image: str, command: list[str]) -> dict[str, Any]:
    """Run a pod with a probe's security context; return it once it has ended."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "probe", "image": image, "command": command, "securityContext": restricted}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    cluster.kubectl("delete", "pod", name, "--ignore-not-found", "--grace-period=0", "--force")
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod))

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(cluster.kubectl("get", "pod", name, "--output=json"))
        # The container's status changes first, then the pod's phase.
        return found if found["status"]["phase"] in {"Succeeded", "Failed"} else None

    return until(f"pod {name} has ended", ended, within_s=120, every_s=0.3)
