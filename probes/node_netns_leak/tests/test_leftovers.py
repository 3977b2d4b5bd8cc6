"""node-netns-leak on a simulated node."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from probes._access import Access
from probes._api import Api
from probes._cri import Sandbox
from probes.node_netns_leak import existing_pods, leftovers, links, resources
from probes.node_netns_leak.existing_pods import ExistingPods
from probes.node_netns_leak.probe import find_leftovers
from probes.node_netns_leak.resources import NodePaths

RUNS = Sandbox("a" * 64, "uid-1", "shop/web", ready=True, created=0)
ENDED = Sandbox("b" * 64, "uid-2", "shop/job", ready=False, created=0)
EXISTING = ExistingPods(frozenset({"uid-1", "uid-2"}), (RUNS, ENDED), frozenset({"/var/run/netns/cni-1"}))


def node_paths(root: Path) -> NodePaths:
    (root / "proc/1").mkdir(parents=True)
    (root / "proc/1/mountinfo").write_text("")
    return NodePaths(
        root,
        namespaces=("/run/netns", "/var/run/netns"),
        namespace_names=re.compile("^cni-"),
        interface_names=re.compile("^veth"),
        kubelet="/var/lib/kubelet",
        results=("/var/lib/cni/results/*",),
        addresses=("/var/lib/cni/networks/*/*",),
    )


def file(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_namespaces_of_pods_and_with_other_names_are_ignored(tmp_path: Path) -> None:
    at = node_paths(tmp_path)
    for name in ("cni-1", "cni-2", "vpn"):
        file(tmp_path, f"run/netns/{name}")
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    assert [one.text for one in leftovers.leaked_namespaces(resources.read(at), EXISTING, at)] == [
        "network namespace /run/netns/cni-2 belongs to no pod"
    ]


def test_resources_of_new_pods_are_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = replace(node_paths(tmp_path), interface_names=re.compile("^no interface of this machine$"))
    file(tmp_path, "containerd.sock")

    def find(*_: object) -> ExistingPods:
        file(tmp_path, "run/netns/cni-new")
        file(tmp_path, "var/lib/cni/networks/net/10.0.0.9", "f" * 64)
        return ExistingPods(frozenset(), (), frozenset())

    monkeypatch.setenv("RUNTIME_SOCKET", "/containerd.sock")
    monkeypatch.setattr(existing_pods, "find", find)
    with Api(Access("http://127.0.0.1:1")) as api:
        assert find_leftovers(api, "node-1", at) == set()


def test_mounts_and_directories_of_deleted_pods_are_named(tmp_path: Path) -> None:
    at = node_paths(tmp_path)
    lines = [
        "36 35 98:0 / /var/lib/kubelet/pods/uid-1/volumes/a rw - tmpfs tmpfs rw",
        r"37 35 98:0 / /var/lib/kubelet/pods/uid-9/volumes/a\040b rw - tmpfs tmpfs rw",
        "38 35 98:0 / /var/lib/kubelet rw - ext4 /dev/sda rw",
    ]
    file(tmp_path, "proc/1/mountinfo", "\n".join(lines) + "\n")
    for uid in ("uid-1", "uid-8", "uid-9"):
        (tmp_path / "var/lib/kubelet/pods" / uid).mkdir(parents=True)
    assert [one.text for one in leftovers.leaked_mounts(resources.read(at), EXISTING, at)] == [
        "mount /var/lib/kubelet/pods/uid-9/volumes/a b belongs to no pod of this node",
        "directory /var/lib/kubelet/pods/uid-8 belongs to no pod of this node",
    ]


def test_a_running_sandbox_without_a_pod_is_named() -> None:
    orphan = Sandbox("c" * 64, "uid-3", "shop/old", ready=True, created=0)
    ended = Sandbox("d" * 64, "uid-4", "shop/older", ready=False, created=0)
    found = leftovers.leaked_sandboxes(ExistingPods(EXISTING.pod_uids, (RUNS, orphan, ended), frozenset()))
    assert [one.text for one in found] == ["sandbox ccccccccccccc runs for pod shop/old, which does not exist"]


def test_addresses_and_results_of_ended_sandboxes_are_not_leaks(tmp_path: Path) -> None:
    at = node_paths(tmp_path)
    file(tmp_path, "var/lib/cni/networks/net/10.0.0.1", f"{RUNS.id}\r\neth0")
    file(tmp_path, "var/lib/cni/networks/net/10.0.0.2", f"{ENDED.id}\r\neth0")
    file(tmp_path, "var/lib/cni/networks/net/10.0.0.3", f"{'e' * 64}\r\neth0")
    file(tmp_path, "var/lib/cni/networks/net/last_reserved_ip.0", "10.0.0.3")
    file(tmp_path, "var/lib/cni/networks/net/lock")
    file(tmp_path, "var/lib/cni/results/net-a-eth0", f'{{"containerId": "{RUNS.id}"}}')
    file(tmp_path, "var/lib/cni/results/net-e-eth0", f'{{"containerId": "{"e" * 64}"}}')
    file(tmp_path, "var/lib/cni/results/half", '{"contain')
    path = "/var/lib/cni/networks/net/10.0.0.3"
    assert [one.text for one in leftovers.leaked_cni_files(resources.read(at), EXISTING, at)] == [
        f"address 10.0.0.3 of network net is assigned to sandbox eeeeeeeeeeeee, which does not exist ({path})",
        "CNI result /var/lib/cni/results/net-e-eth0 belongs to sandbox eeeeeeeeeeeee, which does not exist",
    ]


def test_static_pods_are_identified_by_their_own_uid() -> None:
    mirror = {"metadata": {"uid": "m", "annotations": {"kubernetes.io/config.mirror": "static"}}}
    assert existing_pods.uids_of([mirror, {"metadata": {"uid": "p"}}]) == {"m", "static", "p"}


def test_interfaces_are_parsed_from_iproute2() -> None:
    output = """[{}, {"ifindex": 5, "link_index": 2, "ifname": "veth1", "link_netnsid": 0},
               {"ifindex": 7, "link": "peer", "ifname": "veth2"}]"""
    found = links.parse(output)
    assert found == [links.Link(5, "veth1", 2), links.Link(7, "veth2", 0)]
    assert links.matching(found, re.compile("2$")) == [links.Link(7, "veth2", 0)]
    assert links.parse("") == []


def test_a_namespace_that_disappears_has_no_interfaces(tmp_path: Path) -> None:
    assert links.peers_of(tmp_path, ["/run/netns/deleted"]) == set()


def test_an_invalid_pattern_makes_the_run_unknown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "probes.node_netns_leak.probe"],
        env={"KUBEPROBE_NODE": "n", "NAMESPACE_NAMES": "(", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in {0, 1}
    assert "parameter NAMESPACE_NAMES='(': invalid regular expression" in done.stdout + done.stderr


def test_a_mount_that_cannot_be_parsed_hides_no_other(tmp_path: Path) -> None:
    """A path may hold any bytes, as a volume's directory with a Latin-1 name does."""
    at = node_paths(tmp_path)
    lines = [b"nonsense", b"1 2 0:1 / /var/lib/kubelet/pods/a/caf\xe9 rw", b"1 2 0:1 / /var/lib/kubelet/pods/b rw"]
    (tmp_path / "proc/1/mountinfo").write_bytes(b"\n".join(lines) + b"\n")
    assert resources.mounts_in(at) == ("/var/lib/kubelet/pods/a/caf\ufffd", "/var/lib/kubelet/pods/b")
