"""What a probe needs to tell KubeProbe what it found; standard library only.

A probe is a program. It reports by writing JSON to a file and by its exit code; this package does both:

    from kubeprobe_client import main, measure, step

    @main
    def probe() -> None:
        with step("resolve"):
            ...
        measure("answers", 3)

Next stage: the kubelet hands the file to KubeProbe on the pod's status, where `judge()` makes a verdict of it.
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
