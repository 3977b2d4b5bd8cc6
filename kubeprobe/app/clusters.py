"""Add, change and remove clusters; check whether probes can run there. Schedules follow in the same transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import Transaction, transaction, use_case
from kubeprobe.catalog import Catalog, ScheduleChanges, load_catalog, prepare_schedules, sync_schedules
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.catalog.setup import TargetCluster, cases_bound_to, check_cases, check_sweep_permissions, creatable
from kubeprobe.catalog.version import lock_catalog
from kubeprobe.catalog.yamlfile import is_storable
from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.check import Finding
from kubeprobe.fleet.check import check_cluster as check_access
from kubeprobe.fleet.check_pod import ImageTrial
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.store import Cluster
from kubeprobe.store.migrate import installation_id

NEEDED_FOR_CASES = frozenset({"reachable", "namespace", "permissions"})
"""Checks of a cluster without which its cases cannot be checked."""
T = TypeVar("T")


@dataclass(frozen=True)
class Relabelled:
    """A cluster's labels after a change."""

    labels: Mapping[str, str]
    schedules: ScheduleChanges
    is_declared: bool
    """Whether the catalog declares the cluster: the next apply sets the labels again."""


@transaction(Permission.CLUSTERS)
def add_cluster(
    tx: Transaction, spec: clusters.ClusterRegistration, connection: Connection, *, replace: bool = False
) -> ScheduleChanges:
    """Add a cluster, or with `replace` change one and its connection. Raises InvalidInputError."""
    catalog = prepare_schedules(tx.session, {spec.name: spec.labels})  # locks, before the cluster is written
    clusters.add(tx.session, spec, connection, tx.installation.cipher, tx.now, replace=replace)
    return sync_schedules(tx.session, tx.now, catalog)


@transaction(Permission.CLUSTERS)
def relabel_cluster(tx: Transaction, name: str, labels: Mapping[str, str], removed: Sequence[str] = ()) -> Relabelled:
    """Set and remove labels. Raises NotFoundError, and InvalidInputError for a label that the cluster lacks."""
    lock_catalog(tx.session)
    cluster = clusters.get(tx.session, name)
    if absent := [key for key in removed if key not in cluster.labels]:
        raise InvalidInputError(f"Cluster {name!r} has no label {absent[0]!r}; nothing was changed.")
    after = {key: value for key, value in cluster.labels.items() if key not in removed} | dict(labels)
    catalog = prepare_schedules(tx.session, {name: after})
    cluster = clusters.set_labels(tx.session, name, after)
    schedules = sync_schedules(tx.session, tx.now, catalog)
    return Relabelled(cluster.labels, schedules, is_declared=cluster.spec is not None)


@transaction(Permission.OPERATE)
def cordon_cluster(tx: Transaction, name: str, reason: str = "") -> None:
    """Put a cluster into maintenance: no runs, no alerts. Raises InvalidInputError for an unusable reason."""
    if not is_storable(reason):
        raise InvalidInputError("The reason contains NUL or half a surrogate pair; expected text.")
    clusters.cordon(tx.session, name, reason, tx.now)


@transaction(Permission.OPERATE)
def uncordon_cluster(tx: Transaction, name: str) -> None:
    """End a cluster's maintenance."""
    clusters.uncordon(tx.session, name)


@transaction(Permission.CLUSTERS)
def remove_cluster(tx: Transaction, name: str) -> None:
    """Remove a cluster and its schedules. Its history stays."""
    catalog = prepare_schedules(tx.session, {name: None})
    clusters.remove(tx.session, name)
    sync_schedules(tx.session, tx.now, catalog)


@use_case(Permission.OPERATE)
def check_cluster(installation: Installation, name: str, image: str = "") -> list[Finding]:
    """Check whether probes can run in a cluster; with an image, also whether a pod of it starts there."""
    cluster, catalog = installation.query(clusters.get, name), installation.query(load_catalog)
    trial = ImageTrial(image, installation_id(installation.store)) if image else None
    policy = TemplatePolicy.of(installation.settings)
    return call_cluster(installation.cipher, cluster, lambda api: _check(api, cluster, catalog, trial, policy))


def target_of(cluster: Cluster) -> TargetCluster:
    """A cluster as far as its roles depend on it."""
    return TargetCluster(cluster.name, cluster.namespace, cluster.labels)


def call_cluster(
    cipher: Cipher, cluster: Cluster, call: Callable[[ClusterApi], Awaitable[T]], clock: Clock = utc_now
) -> T:
    """The result of an async call with one cluster's API, in an event loop of its own.

    `clock`: what the offset of the cluster's clock is measured against.
    """

    async def called() -> T:
        clients = ClusterClients(cipher, clock)
        try:
            return await call(await clients.get(cluster))
        finally:
            await clients.close()

    return asyncio.run(called())


async def _check(
    api: ClusterApi, cluster: Cluster, catalog: Catalog, trial: ImageTrial | None, policy: TemplatePolicy
) -> list[Finding]:
    found = await check_access(api, cluster.namespace, trial, watches_nodes=cluster.watches_nodes)
    target = target_of(cluster)
    cases = cases_bound_to(catalog, target)
    if cases and all(one.ok for one in found if one.check in NEEDED_FOR_CASES):
        found += await check_cases(api, catalog, cases, target, policy)
        if swept := creatable(catalog, filter(catalog.is_renderable, cases), target):
            found.append(await check_sweep_permissions(api, swept, target))
    return found
