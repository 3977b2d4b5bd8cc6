"""Leftovers: objects that killed probes created and could not delete; found and deleted after their runs.

Kubernetes deletes most of them with the probe's pod, which owns them. The others (in other namespaces, cluster-scoped)
have the run's label: `decide` selects the orphaned ones, `sweep` deletes them, `repository` records them.
Next: `collect.sweeper` schedules the sweeps.
"""

from kubeprobe.execution.leftovers.decide import GRACE, FoundObject, RunStates
from kubeprobe.execution.leftovers.repository import LeftoverRepository, delete_old_leftovers
from kubeprobe.execution.leftovers.sweep import Swept, sweep

__all__ = ["GRACE", "FoundObject", "LeftoverRepository", "RunStates", "Swept", "delete_old_leftovers", "sweep"]
