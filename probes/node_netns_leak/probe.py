"""Finds leftovers of deleted pods on a node: network namespaces, veths, mounts, sandboxes, addresses.

If it finds something, it checks again within GRACE seconds: what every check finds is a leak.
Parameters: README.md.
"""

import os
import re
import time
from collections import Counter
from pathlib import Path

from kubeprobe_client import give_up, main, measure, report_failure, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._cri import RuntimeUnavailable, socket_of
from probes._parameters import number, text, words
from probes.node_netns_leak import existing_pods, leftovers, resources
from probes.node_netns_leak.leftovers import Leftover
from probes.node_netns_leak.links import NotListed
from probes.node_netns_leak.resources import NodePaths

RECHECKS = 2
"""More than once, as a pod may be starting at the first check and terminating at the last."""
KINDS = ("namespaces", "veths", "mounts", "directories", "sandboxes", "addresses", "results")


def _pattern(name: str, default: str) -> re.Pattern[str]:
    given = text(name, default)
    try:
        return re.compile(given)
    except re.error as error:
        give_up(f"parameter {name}={given!r}: invalid regular expression: {error}")


def _node_paths() -> NodePaths:
    return NodePaths(
        root=Path(text("HOST_ROOT", "/host")),
        namespaces=tuple(words("NAMESPACE_DIRS")) or ("/run/netns",),
        namespace_names=_pattern("NAMESPACE_NAMES", "^cni-"),
        interface_names=_pattern("INTERFACE_NAMES", "^(veth|cali|lxc[0-9a-f]|eni|gke|azv)"),
        kubelet=text("KUBELET_DIR", "/var/lib/kubelet"),
        results=tuple(words("RESULTS")) or ("/var/lib/cni/results/*", "/var/lib/cni/cache/results/*"),
        addresses=tuple(words("ADDRESSES")) or ("/var/lib/cni/networks/*/*",),
    )


def find_leftovers(api: Api, node: str, paths: NodePaths) -> set[Leftover]:
    """All resources that belong to no existing pod. Ends the run as unknown if that cannot be determined."""
    try:
        read = resources.read(paths)
        existing = existing_pods.find(api, node, socket_of(paths.root, text("RUNTIME_SOCKET", "")))
        return set(leftovers.find(read, existing, paths))
    except ApiError as error:
        give_up_if_forbidden(error)
        raise
    except (RuntimeUnavailable, NotListed, OSError) as error:
        give_up(str(error))


@main
def probe() -> None:
    """Report what every check finds."""
    node = os.environ.get("KUBEPROBE_NODE", "")
    if not node:
        give_up("KUBEPROBE_NODE is not set: expected the name of the node that this runs on")
    paths, grace = _node_paths(), number("GRACE", 20)
    with connect() as api:
        with step("check"):
            found = find_leftovers(api, node, paths)
        if found:
            with step("recheck"):
                for _ in range(RECHECKS):
                    time.sleep(grace / RECHECKS)
                    found &= find_leftovers(api, node, paths)
    counted = Counter(one.kind for one in found)
    for kind in KINDS:
        measure(f"leaked_{kind}", counted[kind])
    if found:
        report_failure([one.text for one in sorted(found, key=lambda one: (KINDS.index(one.kind), one.text))])
