"""What a trial's probe left behind, removed as collectors do it for runs: no installation sweeps up after trials.

Kubernetes removes what the pod owned; the rest (other namespaces, what belongs to the cluster) carries the run's label.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from kubeprobe.catalog import Catalog, RunIdentity, TargetCluster
from kubeprobe.catalog.render import values_for
from kubeprobe.catalog.setup import Creatable, creatable
from kubeprobe.execution.leftovers import GRACE, Recalled, Swept, sweep
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.inventory import Inventory


def creatable_by(catalog: Catalog, run: RunIdentity) -> list[Creatable]:
    """What the run's probe may create, by its `rbac`; in which namespaces may follow from values given by hand."""
    case = catalog.case(run.case).model_copy(update={"parameters": values_for(catalog, run)})
    as_run = Catalog(templates=catalog.templates, cases={run.case: case})
    return creatable(as_run, [run.case], TargetCluster(run.cluster, run.namespace, run.cluster_labels))


async def sweep_up(api: ClusterApi, targets: Sequence[Creatable], run: RunIdentity, now: datetime) -> Swept:
    """Remove what is left of this run, whose pod is gone, and of no other: somebody else's may be under way."""

    async def recall(run_ids: Sequence[str]) -> Recalled:
        return Recalled(still_open=frozenset(run_ids) - {run.run_id}, ended={run.run_id: now - GRACE})

    return await sweep(Inventory(api), targets, run.installation, recall, now)


def told_of(swept: Swept) -> Iterator[str]:
    """What its author should know. What has an owner would have gone without us."""
    if removed := sorted(f"{one.target.qualified} {one.name}" for one in swept.removed if not one.owners):
        yield f"left behind, and removed now: {', '.join(removed)}"
    if swept.not_allowed:
        yield f"what it may have left behind stays: KubeProbe's user may not {', '.join(sorted(swept.not_allowed))}"
    if swept.failed:
        told = "; ".join(f"{what}: {why}" for what, why in sorted(swept.failed.items()))
        yield f"what it may have left behind stays: {told}"
