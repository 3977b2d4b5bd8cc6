"""Which run this is, read from the environment that KubeProbe sets in the probe's container.

Everything is optional: a probe started by hand has an anonymous run without a deadline.
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
    """One execution of a probe, as KubeProbe told it. Empty strings: not told."""

    id: str = ""
    installation: str = ""
    case: str = ""
    cluster: str = ""
    trigger: str = ""
    """Why the run exists: `periodic`, `change` or `manual`."""
    namespace: str = ""
    """Where the probe's own pod runs."""
    pod_name: str = ""
    pod_uid: str = ""
    node: str = ""
    """The node that the pod runs on; a probe of nodes is about it."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The values that people set: by template, case, render config and by hand, the last one winning."""
    timeout: float = math.inf
    """Seconds the probe may run, counted from its container's start."""
    deadline: datetime | None = None
    """When KubeProbe kills the probe (UTC); None: never."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], started: datetime) -> Run:
        """The run that the environment tells of; `started` is when the container did (UTC)."""
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
        """Seconds kept back at the end for cleaning up and reporting.

        A tenth of the time-out, but 2 s at least and 10 s at most, and never more than half of it.
        """
        if math.isinf(self.timeout):
            return 0.0
        return min(max(self.timeout / 10, 2.0), 10.0, self.timeout / 2)

    def remaining(self, now: datetime | None = None) -> float:
        """Seconds that the probe may still use, the margin taken off: 0 when used up, inf without a deadline."""
        if self.deadline is None:
            return math.inf
        left = self.deadline - (now or datetime.now(timezone.utc))
        return max(left.total_seconds() - self.margin, 0.0)

    @property
    def labels(self) -> dict[str, str]:
        """Labels for everything that the probe creates, so that KubeProbe can sweep up what is left behind."""
        labels = {"kubeprobe.io/installation": self.installation, "kubeprobe.io/run": self.id}
        return {name: value for name, value in labels.items() if value}

    def owner_reference(self, namespace: str | None = None) -> dict[str, Any] | None:
        """An ownerReference to the probe's own pod, so that Kubernetes removes an object when the pod goes.

        None if the pod is not known, or if the object's namespace is another: Kubernetes deletes
        an object at once whose owner is not in its own namespace.
        """
        if not (self.pod_name and self.pod_uid) or namespace not in (None, self.namespace):
            return None
        return {"apiVersion": "v1", "kind": "Pod", "name": self.pod_name, "uid": self.pod_uid}


def run() -> Run:
    """The run that this process is."""
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
    """When this process started: in a container of its own, when the container did."""
    now = datetime.now(timezone.utc)
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            ticks = int(file.read().rpartition(")")[2].split()[19])  # starttime, proc(5) field 22
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        age = time.monotonic() - _IMPORTED  # not Linux: the interpreter's own start is missed
    return now - timedelta(seconds=max(age, 0.0))
