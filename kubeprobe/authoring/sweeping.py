"""Deletes the leftovers of a trial, as collectors do for runs: no installation sweeps for trials.

Kubernetes deletes what the pod owned; other objects (in other namespaces, cluster-scoped) have the run's label.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from kubeprobe.catalog import Catalog, RunIdentity
from kubeprobe.catalog.render import values_for
from kubeprobe.catalog.setup import Creatable, TargetCluster, creatable
from kubeprobe.execution.leftovers import GRACE, RunStates, Swept, sweep
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.inventory import Inventory


def creatable_by(catalog: Catalog, run: RunIdentity) -> list[Creatable]:
    """The kinds that the run's probe may create by its `rbac`, whose namespaces may be parameters of the run."""
    case = catalog.case(run.case).model_copy(update={"parameters": values_for(catalog, run)})
    as_run = Catalog(templates=catalog.templates, cases={run.case: case})
    return creatable(as_run, [run.case], TargetCluster(run.cluster, run.namespace, run.cluster_labels))


async def sweep_trial(api: ClusterApi, targets: Sequence[Creatable], run: RunIdentity, now: datetime) -> Swept:
    """Delete the leftovers of this run, whose pod is deleted, and of no other: other trials may be running."""

    async def get_run_states(run_ids: Sequence[str]) -> RunStates:
        return RunStates(still_open=frozenset(run_ids) - {run.run_id}, ended={run.run_id: now - GRACE})

    return await sweep(Inventory(api), targets, run.installation, get_run_states, now)


def describe(swept: Swept) -> Iterator[str]:
    """Messages for the probe's author. Objects with an owner are left out: Kubernetes deletes them."""
    if removed := sorted(f"{one.target.qualified} {one.name}" for one in swept.removed if not one.owners):
        yield f"left behind by the probe, now deleted: {', '.join(removed)}"
    if swept.not_allowed:
        yield f"objects of the probe may be left: KubeProbe's user may not {', '.join(sorted(swept.not_allowed))}"
    if swept.failed:
        errors = "; ".join(f"{what}: {why}" for what, why in sorted(swept.failed.items()))
        yield f"objects of the probe may be left: {errors}"
