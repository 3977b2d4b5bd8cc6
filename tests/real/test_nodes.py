"""Node probes on a real Kubernetes, by the user's own commands: pinned, rotated, with cordoned and removed nodes.

Besides the bed's node there are others without a kubelet, which exist in the API only.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.instance import NODE_NAME
from tests.harness.installation import Installation
from tests.harness.wait import until
from tests.real.fleet.given import kubeconfig_with
from tests.real.test_whole_installation import User, kubectl

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
FAKE = ("fake-1", "fake-2")
CATALOG = """
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: which-node}
spec:
  image: docker.io/kubeprobe/busybox:dev
  command: [sh, -c, 'echo "{\\"ok\\": true, \\"metrics\\": {\\"$KUBEPROBE_NODE\\": 1}}" > $KUBEPROBE_REPORT_FILE']
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: which-node}
spec:
  template: which-node
  kind: inspection
  description: Says on which node it runs.
  severity: info
  owner: tests
  timeouts: {start: 30s, run: 30s}
---
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: nodes}
spec:
  cases: [which-node]
  clusters: {selector: {}}
  nodes: {sample: 2}
  concurrency: allow
  on:
    periodic: {every: 5s}
"""


@pytest.fixture
def installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    with Installation(tmp_path, database_url) as installation:
        yield installation


@pytest.fixture
def node(kubeconfig: Path) -> Iterator[str]:
    """The bed's own node, uncordoned at the end; the others are removed."""
    kubectl("create", "namespace", "kubeprobe", check=False)
    yield NODE_NAME
    kubectl("uncordon", NODE_NAME)
    kubectl("taint", "node", NODE_NAME, "kubeprobe-test-", check=False)
    kubectl("delete", "node", *FAKE, "--ignore-not-found")
    # Pods of nodes without a kubelet, which nobody else deletes.
    mine = ("-l", "kubeprobe.io/case=which-node")
    kubectl("-n", "kubeprobe", "delete", "pods", *mine, "--force", "--grace-period=0", check=False)


def join(*names: str) -> None:
    items = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}} for name in names]
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def start(installation: Installation, kubeconfig: Path, folder: Path) -> User:
    user = User(installation)
    (folder / "catalog").mkdir()
    (folder / "catalog" / "catalog.yaml").write_text(CATALOG)
    user.types("cluster", "add", "prod-1", "--kubeconfig", str(kubeconfig))
    user.types("apply", "-f", "catalog")
    installation.start_all()
    return user


def runs(user: User, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user.reads("runs", "--limit", "500", *options)
    return found


def nodes_of(found: list[dict[str, Any]]) -> set[str]:
    return {run["node"] for run in found if run["node"]}


def test_every_node_is_probed_in_turn_even_cordoned_or_tainted(
    installation: Installation, node: str, kubeconfig: Path, tmp_path: Path
) -> None:
    join(*FAKE)
    kubectl("taint", "node", node, "kubeprobe-test=yes:NoSchedule")
    user = start(installation, kubeconfig, tmp_path)
    until("every node to have its run", lambda: nodes_of(runs(user)) == {node, *FAKE}, 90, 1, lambda: runs(user))

    # It runs on the real node despite its taint, and reports that node; the others cannot run it.
    passed = until("a pass", lambda: runs(user, "--verdict", "pass"), within_s=90, every_s=1)[0]
    assert (passed["node"], passed["nodeLevel"], passed["report"]["metrics"]) == (node, True, {node: 1})
    until("an unknown", lambda: runs(user, "--node", "fake-1", "--verdict", "unknown"), within_s=120, every_s=1)
    until(
        "each node to stand for itself",
        lambda: (
            {cell["node"]: cell["shown"] for cell in user.reads("status", "--nodes")}.items()
            >= {node: "pass", "fake-1": "unknown"}.items()
        ),
        within_s=90,
        every_s=1,
    )
    assert user.reads("status")["cells"][0]["nodes"]["pass"] == 1

    # A cordoned node is left out of periodic runs, but not of manual ones.
    kubectl("cordon", node)
    until("the cordon to be known", lambda: user.reads("status")["cells"][0]["nodes"].get("cordoned"), 90, 1)
    before = len(runs(user, "--node", node))
    others = len(runs(user, "--node", "fake-1"))
    until("others to go on", lambda: len(runs(user, "--node", "fake-1")) > others + 1, within_s=90, every_s=1)
    assert len(runs(user, "--node", node)) <= before + 1, "one may have been opened before the cordon was known"
    [outcome] = user.reads("run", "which-node", "--cluster", "prod-1", "--node", node, "--wait")
    assert (outcome["verdict"], outcome["node"]) == ("pass", node)


def test_runs_on_a_removed_node_end_at_once_and_leave_nothing(
    installation: Installation, node: str, kubeconfig: Path, tmp_path: Path
) -> None:
    join("fake-1")
    user = start(installation, kubeconfig, tmp_path)
    until("runs on the node", lambda: pods_on("fake-1"), within_s=90, every_s=1)
    kubectl("delete", "node", "fake-1")
    until("the end of its runs", lambda: runs(user, "--node", "fake-1", "--verdict", "unknown"), within_s=90, every_s=1)
    until(
        "all of them to end",
        lambda: {run["reason"] for run in runs(user, "--node", "fake-1")} <= {"NodeGone", "StartDeadline"},
        within_s=90,
        every_s=1,
    )
    assert "NodeGone" in {run["reason"] for run in runs(user, "--node", "fake-1")}
    until("no pod left", lambda: not pods_on("fake-1"), within_s=90, every_s=1)
    output = user.types("show", runs(user, "--node", "fake-1")[0]["id"])
    assert "which-node on prod-1/fake-1" in output


def test_a_missing_permission_for_nodes_is_reported_by_check_and_outcomes(
    installation: Installation, node: str, kubeconfig: Path, tmp_path: Path
) -> None:
    kubectl("-n", "kubeprobe", "delete", "serviceaccount,role,rolebinding", "no-nodes", "--ignore-not-found")
    kubectl("-n", "kubeprobe", "create", "serviceaccount", "no-nodes")
    verbs = "--verb=create,get,list,watch,delete"
    kubectl("-n", "kubeprobe", "create", "role", "no-nodes", verbs, "--resource=pods,pods/log")
    kubectl(
        "-n", "kubeprobe", "create", "rolebinding", "no-nodes", "--role=no-nodes", "--serviceaccount=kubeprobe:no-nodes"
    )
    token = kubectl("-n", "kubeprobe", "create", "token", "no-nodes").strip()
    limited = kubeconfig_with(tmp_path / "limited", kubeconfig, {"token": token})
    user = start(installation, limited, tmp_path)
    found = {finding["check"]: finding for finding in user.reads("cluster", "check", "prod-1", code=1)}
    assert found["nodes"]["found"] == "missing: list, watch nodes, and a binding has `nodes`"
    [unknown, *_] = until(
        "an outcome that says why",
        lambda: [run for run in runs(user, "--verdict", "unknown") if "permission" in run["message"]],
        within_s=60,
        every_s=1,
    )
    assert unknown["reason"] == "NoNodes"
    assert unknown["message"] == "The nodes of prod-1 are not known: permission missing: list and watch nodes"
    assert "which-node" in user.types("status")


def pods_on(name: str) -> list[str]:
    selector = "app.kubernetes.io/managed-by=kubeprobe"
    return kubectl(
        "-n", "kubeprobe", "get", "pods", "-l", selector, "--field-selector", f"spec.nodeName={name}", "-o", "name"
    ).split()
