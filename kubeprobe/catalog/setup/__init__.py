"""Setting up a cluster for cases: namespace, ServiceAccounts, roles of least privilege.

`pod_security` finds the Pod Security Standard of PodSpecs, `objects` makes what cases need, `own_account` what
KubeProbe itself needs, `apply` creates it in a cluster, `check` finds what is missing there.
"""

from kubeprobe.catalog.setup.apply import AppliedObject, ObjectAction, apply_objects, namespace_relaxation
from kubeprobe.catalog.setup.check import check_cases, check_sweep_permissions
from kubeprobe.catalog.setup.objects import TargetCluster, cases_bound_to, setup_objects
from kubeprobe.catalog.setup.own_account import Creatable, creatable, own_objects
from kubeprobe.catalog.setup.pod_security import security_of

__all__ = [
    "AppliedObject",
    "Creatable",
    "ObjectAction",
    "TargetCluster",
    "apply_objects",
    "cases_bound_to",
    "check_cases",
    "check_sweep_permissions",
    "creatable",
    "namespace_relaxation",
    "own_objects",
    "security_of",
    "setup_objects",
]
