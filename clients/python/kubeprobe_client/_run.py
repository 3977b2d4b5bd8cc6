"""The current run, from the environment that KubeProbe sets in the probe's container.

Everything is optional: a probe that is started by hand has a run without an id and without a deadline.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

_IMPORTED = time.monotonic()


@dataclass(frozen=True)
class Run:
    """One execution of a probe. Fields that KubeProbe did not set are empty."""

    id: str = ""
    installation: str = ""
    case: str = ""
    cluster: str = ""
    trigger: str = ""
    """Why the run exists: `periodic`, `change` or `manual`."""
    namespace: str = ""
    """The namespace of the probe's own pod."""
    pod_name: str = ""
    pod_uid: str = ""
    node: str = ""
    """The node that the pod runs on; the subject of a node probe."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Parameter values by name, from template, case, render config, manual request; the last one takes precedence."""
    timeout: float = math.inf
    """Seconds that the probe may run, from its container's start."""
    deadline: datetime | None = None
    """When KubeProbe kills the probe (UTC); None without a time-out."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], started: datetime) -> Run:
        """The run that an environment describes; `started` is the container's start (UTC)."""
        timeout = _seconds(environ.get("KUBEPROBE_RUN_TIMEOUT", ""))
        return cls(
            id=environ.get("KUBEPROBE_RUN_ID", ""),
            installation=environ.get("KUBEPROBE_INSTALLATION", ""),
            case=environ.get("KUBEPROBE_CASE", ""),
            cluster=environ.get("KUBEPROBE_CLUSTER", ""),
            trigger=environ.get("KUBEPROBE_TRIGGER", ""),
            namespace=environ.get("KUBEPROBE_NAMESPACE", ""),
            pod_name=environ.get("KUBEPROBE_POD_NAME", ""),
            pod_uid=environ.get("KUBEPROBE_POD_UID", ""),
            node=environ.get("KUBEPROBE_NODE", ""),
            parameters={
                name: environ.get(name, "")
                for listed in environ.get("KUBEPROBE_PARAMETERS", "").split(",")
                if (name := listed.strip())
            },
            timeout=timeout,
            deadline=started + timedelta(seconds=timeout) if timeout < math.inf else None,
        )

    @property
    def margin(self) -> float:
        """Seconds reserved at the end for cleanup and the report.

        A tenth of the time-out, at least 2 s and at most 10 s, but never more than half of it.
        """
        if math.isinf(self.timeout):
            return 0.0
        return min(max(self.timeout / 10, 2.0), 10.0, self.timeout / 2)

    def remaining(self, now: datetime | None = None) -> float:
        """Seconds left for the probe, without the margin: never below 0, inf without a deadline."""
        if self.deadline is None:
            return math.inf
        left = self.deadline - (now or datetime.now(timezone.utc))
        return max(left.total_seconds() - self.margin, 0.0)

    @property
    def labels(self) -> dict[str, str]:
        """Labels for all objects that the probe creates, by which KubeProbe finds and deletes leftovers."""
        labels = {"kubeprobe.io/installation": self.installation, "kubeprobe.io/run": self.id}
        return {name: value for name, value in labels.items() if value}

    def owner_reference(self, namespace: str | None = None) -> dict[str, Any] | None:
        """An ownerReference to the probe's own pod, so that Kubernetes deletes an object with the pod.

        None if the pod is unknown or in another namespace: Kubernetes immediately deletes an object
        whose owner is in another namespace.
        """
        if not (self.pod_name and self.pod_uid) or namespace not in (None, self.namespace):
            return None
        return {"apiVersion": "v1", "kind": "Pod", "name": self.pod_name, "uid": self.pod_uid}


def run() -> Run:
    """The run of this process."""
    return Run.from_environment(os.environ, _process_start())


def _seconds(text: str) -> float:
    if not text:
        return math.inf
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e9:
        sys.stderr.write(f"KUBEPROBE_RUN_TIMEOUT={text!r} ignored: expected seconds, such as 90\n")
        return math.inf
    return seconds


def _process_start() -> datetime:
    """The start of this process, which in a container is the container's start."""
    now = datetime.now(timezone.utc)
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            ticks = int(file.read().rpartition(")")[2].split()[19])  # starttime, proc(5) field 22
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        age = time.monotonic() - _IMPORTED  # not Linux: without the interpreter's own start-up time
    return now - timedelta(seconds=max(age, 0.0))
