"""Leftovers: what probes created and could not remove, because they were killed; found and removed after their runs.

Most goes with the probe's pod, which owns it. The rest (other namespaces, what belongs to the cluster) carries the
run's label: `decide` tells what of it is nobody's any more, `sweep` removes that, `book` keeps what was found.
Next: `collect.sweeper` says when.
"""

from kubeprobe.execution.leftovers.decide import GRACE, Found, Recalled
from kubeprobe.execution.leftovers.repository import LeftoverRepository
from kubeprobe.execution.leftovers.sweep import Swept, sweep

__all__ = ["GRACE", "Found", "LeftoverRepository", "Recalled", "Swept", "sweep"]
