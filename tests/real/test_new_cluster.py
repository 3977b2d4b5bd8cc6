"""A new cluster, by a user's four commands: every bound built-in case gets a verdict other than unknown."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeprobe.catalog.builtin import built_in_files
from kubeprobe.catalog.model import BindingSpec
from kubeprobe.catalog.parse import parse
from testbed import Instance
from tests.harness.installation import Installation
from tests.harness.wait import until
from tests.real.test_whole_installation import User, kubectl

NAMESPACE = "kubeprobe-new"
NODES_NAMESPACE = "kubeprobe-new-nodes"
APART = """
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: everywhere}
spec:
  cases: [pod-lifecycle]
  clusters: {names: [new]}
  on: {periodic: {every: 1h}}
---
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: on-nodes}
spec:
  cases: [node-netns-leak]
  clusters: {names: [new-nodes]}
  nodes: {}
  on: {periodic: {every: 1h}}
"""
RUN_ALL = """
import json, sys
import kubeprobe
name, _, socket = sys.argv[2].partition("=")
for case in json.loads(sys.argv[1]):
    kubeprobe.run(case, cluster="new", parameters={name: socket} if case.startswith("node-") else {})
"""


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    with Installation(tmp_path, database_url) as installation:
        yield installation
    kubectl("delete", "namespace", NAMESPACE, NODES_NAMESPACE, "--ignore-not-found")


def _socket() -> str:
    """The test bed's socket of the container runtime, which is not a usual one."""
    return f"RUNTIME_SOCKET={Instance.named().containerd_socket}"


def _verdicts(user: User) -> dict[str, str]:
    """The verdict of each requested case, with its reason."""
    found = user.reads("runs", "--trigger", "manual", "--limit", "100")
    return {run["case"]: f"{run['verdict']} {run['reason']} {run['message']}" for run in found if run["verdict"]}


def bound() -> set[str]:
    bindings = parse(built_in_files(bindings=True)).specs("Binding", BindingSpec).values()
    return {case for binding in bindings for case in binding.cases}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_new_cluster_needs_only_setup_and_one_apply(installation: Installation, kubeconfig: Path) -> None:
    user = User(installation)
    user.types("cluster", "add", "new", "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE)
    user.types("apply", "--built-in")
    user.types("cluster", "setup", "new", "--apply")
    user.types("cluster", "check", "new")

    installation.start_all()
    user.runs_in_python(RUN_ALL, json.dumps(sorted(bound())), _socket())

    until("every case to have its verdict", lambda: _verdicts(user).keys() >= bound(), 300, 3, lambda: _verdicts(user))
    assert {case: outcome for case, outcome in _verdicts(user).items() if outcome.startswith("unknown")} == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_node_probes_can_have_their_own_privileged_namespace(
    installation: Installation, kubeconfig: Path, tmp_path: Path
) -> None:
    user = User(installation)
    for name, namespace in (("new", NAMESPACE), ("new-nodes", NODES_NAMESPACE)):
        user.types("cluster", "add", name, "--kubeconfig", str(kubeconfig), "--namespace", namespace)
    (tmp_path / "bindings.yaml").write_text(APART)
    user.types("apply", "--built-in", "--without-bindings", "-f", "bindings.yaml")
    for name in ("new", "new-nodes"):
        user.types("cluster", "setup", name, "--apply")
        user.types("cluster", "check", name)
    enforced = "-o=jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}"
    assert kubectl("get", "namespace", NAMESPACE, enforced) == "restricted"
    assert kubectl("get", "namespace", NODES_NAMESPACE, enforced) == "privileged"

    installation.start_all()
    user.types("run", "pod-lifecycle", "--cluster", "new")
    user.types("run", "node-netns-leak", "--cluster", "new-nodes", "--param", _socket())
    until("both verdicts", lambda: len(_verdicts(user)) == 2, 180, 1, lambda: _verdicts(user))
    found = _verdicts(user)
    assert found["pod-lifecycle"].startswith("pass"), found
    # Test beds keep their CNI results in one folder, so that each other's may look left behind: it has seen the node.
    assert not found["node-netns-leak"].startswith("unknown"), found
