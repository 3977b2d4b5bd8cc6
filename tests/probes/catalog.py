"""The probes' own catalogs, parsed by KubeProbe, so that pods and RBAC rules are those of users."""

from functools import cache

from kubeprobe.catalog import Catalog, parse
from kubeprobe.catalog.model import ProbeCaseSpec, ProbeTemplateSpec
from kubeprobe.catalog.setup import TargetCluster, security_of, setup_objects
from tests.probes.paths import NAMESPACE, NODE_NAMESPACE, PROBES, Json

CLUSTER = "test"


@cache
def catalog_of(folder: str) -> Catalog:
    """The catalog of one probe's folder."""
    declared = parse([PROBES / folder / "catalog.yaml"])
    return Catalog(
        templates=declared.specs("ProbeTemplate", ProbeTemplateSpec),
        cases=declared.specs("ProbeCase", ProbeCaseSpec),
    )


def case_of(folder: str) -> str:
    """The name of the case in a folder."""
    return folder.replace("_", "-")


def rights_of(folder: str) -> list[Json]:
    """The namespace, account and roles that `kubeprobe cluster setup` creates for a probe."""
    return setup_objects(catalog_of(folder), [case_of(folder)], TargetCluster(CLUSTER, namespace_of(folder)))


def namespace_of(folder: str) -> str:
    """The namespace of a probe's pods in tests: another one if they cannot comply with `restricted`."""
    return NAMESPACE if security_of(catalog_of(folder), case_of(folder)).level == "restricted" else NODE_NAMESPACE
