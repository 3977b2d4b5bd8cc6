"""Checks the node that it runs on: full tables and disks, the clock, the kernel's log, kubelet and runtime.

Parameters: README.md. A failed check makes a run unknown, unless another one finds a problem.
"""

import os
import re
from pathlib import Path

from kubeprobe_client import give_up, main, measure, report_failure, step

from probes._access import Access
from probes._api import ApiError, PermissionMissing, connect
from probes._parameters import number, text, words
from probes.node_health import agents, clock, disks, kernel_log, limits
from probes.node_health.finding import Findings
from probes.node_health.kernel_patterns import Pattern

PATHS = "/ /var/lib/kubelet /var/lib/containerd /var/lib/etcd /var/log"


def own_patterns() -> list[Pattern]:
    """The case's own patterns of the kernel's log; an invalid regular expression ends the run as unknown."""
    try:
        return [Pattern(f"matches {line!r}", re.compile(line)) for line in text("KERNEL_PATTERNS", "").splitlines()]
    except re.error as error:
        give_up(f"parameter KERNEL_PATTERNS: {error.pattern!r} is not a regular expression: {error}")


def _percentages() -> limits.Percentages:
    return limits.Percentages(
        conntrack=number("CONNTRACK_PERCENT", 80),
        pids=number("PIDS_PERCENT", 80),
        files=number("FILES_PERCENT", 80),
        inotify=number("INOTIFY_PERCENT", 90),
    )


def _on_the_node(root: Path) -> Findings:
    """The checks on the node itself."""
    findings = Findings()
    percentages, patterns = _percentages(), own_patterns()
    with step("limits"):
        findings.add(limits.check(root / "proc", percentages))
    with step("disks"):
        paths = words("PATHS") or PATHS.split()
        findings.add(disks.check(root, paths, number("DISK_PERCENT", 90), number("INODES_PERCENT", 90)))
    with step("kernel log"):
        findings.add(kernel_log.check(root / "dev/kmsg", 60 * number("KERNEL_LOG_MINUTES", 10), patterns))
    with step("kubelet"):
        findings.add(agents.kubelet(text("KUBELET_HEALTHZ", "http://127.0.0.1:10248/healthz")))
    with step("runtime"):
        findings.add(agents.runtime(root, text("RUNTIME_SOCKET", "")))
    return findings


def _in_the_api(node: str) -> tuple[Findings, Access]:
    findings = Findings()
    with connect() as api:
        try:
            lease_age, terminating = number("LEASE_AGE", 40), number("TERMINATING", 300)
            with step("api"):
                findings.add(agents.api_state(api, node, lease_age, terminating))
        except PermissionMissing as error:
            findings.unchecked.append(str(error))
        except ApiError as error:
            findings.problems.append(str(error))
        return findings, api.access


@main
def probe() -> None:
    """Run all checks, then report every problem."""
    node = os.environ.get("KUBEPROBE_NODE", "")
    if not node:
        give_up("KUBEPROBE_NODE is not set: expected the name of the node that this runs on")
    findings, access = _in_the_api(node)
    findings.add(_on_the_node(Path(text("HOST_ROOT", "/host"))))
    with step("clock"):
        findings.add(clock.check(access, text("CLOCK_URL", ""), words("NTP_SERVERS"), number("CLOCK_OFFSET", 2)))
    for name, value in findings.measured.items():
        measure(name, value)
    if findings.problems:
        report_failure([*findings.problems, *(f"not checked: {why}" for why in findings.unchecked)])
    elif findings.unchecked:
        give_up("; ".join(findings.unchecked))
