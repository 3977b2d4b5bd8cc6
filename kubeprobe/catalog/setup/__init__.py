"""Setting up a cluster for cases: namespace, accounts, roles of least privilege.

`security` tells what a pod asks of its namespace, `objects` what the cases need, `own` what KubeProbe itself needs,
`applying` brings it into a cluster, `checking` finds out what is missing there. Next: `cli` shows and asks.
"""

from kubeprobe.catalog.setup.applying import Applied, Doing, apply_objects, loosening
from kubeprobe.catalog.setup.checking import check_cases, check_sweeping
from kubeprobe.catalog.setup.objects import Place, cases_bound_to, setup_objects
from kubeprobe.catalog.setup.own import Creatable, creatable, own_objects
from kubeprobe.catalog.setup.security import is_restricted

__all__ = [
    "Applied",
    "Creatable",
    "Doing",
    "Place",
    "apply_objects",
    "cases_bound_to",
    "check_cases",
    "check_sweeping",
    "creatable",
    "is_restricted",
    "loosening",
    "own_objects",
    "setup_objects",
]
