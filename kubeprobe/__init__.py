"""KubeProbe acts as a user in every Kubernetes cluster, all the time and around every change.

The flow of a run, one folder per stage: `catalog` declares what is probed, `trigger` opens runs, `execution`
launches their pods and collects outcomes, `response` notifies people. `store` holds the truth, `queue` only
wakes. From Python, `kubeprobe.run("pod-lifecycle", cluster="prod-1").wait()` requests a run.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "change", "run"]


def __getattr__(name: str) -> Any:
    """Load the shell's functions at their first use, so that importing kubeprobe stays cheap."""
    if name in {"run", "change"}:
        return getattr(import_module("kubeprobe.shell"), name)
    raise AttributeError(f"module 'kubeprobe' has no attribute {name!r}")
