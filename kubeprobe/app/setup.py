"""What cases need in a cluster: planned from the catalog, compared with the cluster, created there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlmodel import Session

from kubeprobe.app.clusters import call_cluster, target_of
from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import use_case
from kubeprobe.catalog import Catalog, load_catalog
from kubeprobe.catalog.setup import (
    AppliedObject,
    TargetCluster,
    apply_objects,
    cases_bound_to,
    creatable,
    namespace_relaxation,
    own_objects,
    setup_objects,
)
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.credentials import Connection
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.store import Cluster

COMPARE_WITHIN_S = 5.0
"""A plan needs no cluster, so one that does not answer is not waited for."""
T = TypeVar("T")


@dataclass(frozen=True)
class SetupRequest:
    """What to set up."""

    cluster: str
    cases: tuple[str, ...] = ()
    """Empty: the cases that are bound to the cluster."""
    all_cases: bool = False
    own: bool = False
    """Also an account of few rights for KubeProbe itself."""


@dataclass(frozen=True)
class SetupPlan:
    """The objects that a cluster needs, and for which cases."""

    cluster: Cluster
    catalog: Catalog
    cases: Sequence[str]
    running: Sequence[str]
    """These, and all that bindings run there."""
    objects: list[dict[str, Any]]


@dataclass(frozen=True)
class SetupResult:
    """What was done about each object."""

    applied: list[AppliedObject]
    loosened: str | None
    """Why the namespace has to enforce a lower Pod Security level than before; None where it stays."""


def plan_setup(session: Session, request: SetupRequest) -> SetupPlan:
    """The plan, as a view of the store. Raises NotFoundError, and InvalidInputError where no case is chosen.

    Raises CatalogUnreadableError if a case that is chosen, or bound to the cluster, is unreadable: roles that it needs
    would be reduced. An unreadable binding may match any cluster.
    """
    cluster = clusters.get(session, request.cluster)
    catalog = load_catalog(session)
    target = target_of(cluster)
    cases = _chosen(catalog, request, target)
    possible = {case for entry in catalog.unreadable_of("Binding").values() for case in entry.texts("cases")}
    bound = sorted({*cases_bound_to(catalog, target), *(possible & catalog.case_names())})
    running = sorted({*cases, *bound})
    objects = setup_objects(catalog, cases, target, bound)
    if request.own:
        objects += own_objects(creatable(catalog, running, target), target)
    return SetupPlan(cluster, catalog, cases, running, objects)


@use_case(Permission.READ)
def compare_setup(installation: Installation, plan: SetupPlan, admin: Connection | None = None) -> str | None:
    """Why the cluster's namespace would have to enforce less; None also where the cluster does not answer soon."""
    try:
        return _call(installation, plan, admin, lambda api: asyncio.wait_for(_loosening(api, plan), COMPARE_WITHIN_S))
    except (ClusterError, TimeoutError):
        return None


@use_case(Permission.CLUSTERS)
def apply_setup(installation: Installation, plan: SetupPlan, admin: Connection | None = None) -> SetupResult:
    """Create or change the objects in the cluster, with its own connection or an administrator's."""

    async def make(api: ClusterApi) -> SetupResult:
        loosened = await _loosening(api, plan)
        return SetupResult(await apply_objects(api, plan.objects), loosened)

    return _call(installation, plan, admin, make)


def _chosen(catalog: Catalog, request: SetupRequest, target: TargetCluster) -> list[str]:
    if not catalog.case_names():
        raise InvalidInputError("The catalog has no cases yet. `kubeprobe apply --built-in` adds KubeProbe's own.")
    if request.all_cases or request.cases:
        return sorted(catalog.case_names()) if request.all_cases else list(request.cases)
    if bound := cases_bound_to(catalog, target):
        return bound
    examples = ",".join(sorted(catalog.case_names())[:2])
    raise InvalidInputError(
        f"No binding runs anything on {request.cluster}: use --cases {examples} or --all, "
        "or bind some first (`kubeprobe apply`)."
    )


async def _loosening(api: ClusterApi, plan: SetupPlan) -> str | None:
    [namespace] = [body for body in plan.objects if body["kind"] == "Namespace"]
    try:
        found = await api.call("GET", f"/api/v1/namespaces/{namespace['metadata']['name']}")
    except ClusterError:
        return None
    return namespace_relaxation(found, namespace, plan.catalog, plan.running)


def _call(
    installation: Installation, plan: SetupPlan, admin: Connection | None, call: Callable[[ClusterApi], Awaitable[T]]
) -> T:
    row, cipher = plan.cluster, installation.cipher
    if admin is not None:
        row = Cluster(**{**row.model_dump(), "connection": cipher.seal(admin), "connection_kind": admin.kind})
    return call_cluster(cipher, row, call)
