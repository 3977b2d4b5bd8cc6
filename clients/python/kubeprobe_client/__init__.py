"""Reports a probe's result to KubeProbe; standard library only.

A probe is a program. It reports by writing JSON to a file and by its exit code; this package does both:

    from kubeprobe_client import main, measure, step

    @main
    def probe() -> None:
        with step("resolve"):
            ...
        measure("answers", 3)

The kubelet copies the file into the pod's status (termination message); KubeProbe derives the verdict from it.
"""

from kubeprobe_client._main import main
from kubeprobe_client._reporter import (
    CheckFailed,
    OutOfTime,
    give_up,
    measure,
    report_failure,
    report_success,
    step,
)
from kubeprobe_client._run import Run, run

__all__ = [
    "CheckFailed",
    "OutOfTime",
    "Run",
    "give_up",
    "main",
    "measure",
    "report_failure",
    "report_success",
    "run",
    "step",
]
