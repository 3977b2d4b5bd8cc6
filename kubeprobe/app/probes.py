"""Try a probe that is being written, and register it."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubeprobe.app.clusters import call_cluster
from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import use_case
from kubeprobe.authoring.folder import CATALOG_FILE, ProbeFolder, check_digest, read_folder
from kubeprobe.authoring.local import LOCAL, local_cluster, make_accounts, prepare_folder
from kubeprobe.authoring.trial import ByHand, Trial, TrialContext, try_probe
from kubeprobe.catalog import ApplyResult, Declaration, Plan, apply, known_names, make_plan
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.names import nearest
from kubeprobe.runs import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
from kubeprobe.views import RunView
from kubeprobe.vocabulary import Reason, RunState

_NO_ACCOUNT = re.compile(r"error looking up service account ([^\s:]+):")
"""The API server's admission message (k8s.io/kubernetes plugin/pkg/admission/serviceaccount)."""


@dataclass(frozen=True)
class Observer:
    """Where a trial reports its progress."""

    on_state: Callable[[str], None]
    on_warning: Callable[[str], None]


@dataclass(frozen=True)
class TrialOnCluster:
    """A trial on a registered cluster."""

    trial: Trial
    lacks: str | None
    """What the cluster lacks that `cluster setup` creates; None where it lacks nothing of the kind."""
    is_registered: bool
    """Whether the catalog has the probe's case, so that `cluster setup` knows what it needs."""


@dataclass(frozen=True)
class Registered:
    """What registering a probe changed; `applied` is None after a dry run."""

    folder: ProbeFolder
    declaration: Declaration
    plan: Plan | None
    applied: ApplyResult | None
    is_local_only: bool = False
    """Whether no image was pushed: only the local cluster can run the folder."""


def try_locally(settings: Settings, folder: ProbeFolder, given: ByHand, observer: Observer) -> Trial:
    """Run a probe once on the local cluster, which is started if it does not run. Needs no installation."""

    async def run() -> Trial:
        async with local_cluster(folder, settings, utc_now()) as (api, cluster):
            return await try_probe(folder, _context(api, cluster, utc_now, observer), given)

    return asyncio.run(run())


@use_case(Permission.OPERATE)
def try_on_cluster(
    installation: Installation, name: str, folder: ProbeFolder, given: ByHand, observer: Observer, image: str | None
) -> TrialOnCluster:
    """Run a probe once on a registered cluster, with an image or the one pushed last. Nothing is stored."""
    cluster = installation.query(clusters.get, name)
    is_local = cluster.connection_kind == LOCAL
    if is_local:
        prepare_folder(folder, installation.settings)
    else:
        folder = folder.with_image(image or _image_for(folder, name))

    async def run(api: ClusterApi) -> Trial:
        if is_local:
            await make_accounts(api, cluster, folder)
        return await try_probe(folder, _context(api, cluster, installation.clock, observer), given)

    trial = call_cluster(installation.cipher, cluster, run, installation.clock)
    is_registered = folder.case in installation.query(known_names)["ProbeCase"]
    return TrialOnCluster(trial, _lacking(trial.judgement, cluster), is_registered)


@use_case(Permission.CATALOG)
def register_probe(
    installation: Installation, path: Path, image: str | None = None, *, dry_run: bool = False
) -> Registered:
    """Apply a probe's template and case, with the digest of its image. Raises CatalogError, nothing changed.

    Without an image the folder becomes one of the local cluster. It is compiled first, outside of the transaction.
    """
    folder = read_folder(path, installation.query(known_names))
    pinned = check_digest(image) if image else folder.pushed_image
    declaration, connector, now = folder.with_image(pinned).declaration, installation.connector, installation.clock()
    policy = TemplatePolicy.of(installation.settings)
    if dry_run:
        return Registered(
            folder, declaration, installation.query(make_plan, declaration, connector, now, policy=policy), None
        )
    is_local_only = pinned is None and folder.is_an_image
    if is_local_only:
        prepare_folder(folder, installation.settings)
    with installation.store.writing() as session:
        applied = apply(session, declaration, connector, now, policy=policy)
    return Registered(folder, declaration, None, applied, is_local_only)


def unknown_parameters(given: ByHand, folder: ProbeFolder) -> list[str]:
    """A warning for each parameter that the folder does not name: it may be mistyped."""
    known = folder.parameters
    return [
        f"{folder.path / CATALOG_FILE} names no parameter {name!r}.{nearest(name, known)}"
        for name in sorted(set(given.parameters) - known)
    ]


def trial_as_run(folder: ProbeFolder, cluster: str, trial: Trial) -> RunView:
    """A trial as a run would be shown."""
    found = trial.judgement
    return RunView(
        id=trial.run_id,
        case=folder.case,
        cluster=cluster,
        node=found.node or trial.given.node,
        node_level=trial.given.node is not None,
        trigger="manual",
        binding=None,
        change_id=None,
        case_commit=None,
        state=RunState.DONE,
        attempt=1,
        held=False,
        setback=None,
        due_at=trial.opened_at,
        opened_at=trial.opened_at,
        verdict=found.verdict,
        reason=found.reason,
        message=found.message,
        missed=None,
        report=found.report,
        started_at=found.started_at,
        finished_at=found.finished_at,
        stored_at=trial.ended_at,
    )


def _image_for(folder: ProbeFolder, cluster: str) -> str | None:
    """The image that a real cluster can pull; None: the one that the template names."""
    if folder.pushed_image or not folder.is_an_image:
        return folder.pushed_image
    if "/" in folder.image or "@" in folder.image:  # with a registry: written there on purpose
        return None
    raise InvalidInputError(
        f"cluster {cluster} cannot pull {folder.image!r}: no image of {folder.path} was pushed. `kubeprobe probe build "
        f"{folder.path} --tag REGISTRY/{folder.case}:1 --push` does that; --image names another one."
    )


def _lacking(found: Judgement, cluster: Cluster) -> str | None:
    if found.reason is Reason.NAMESPACE_MISSING:
        return f"namespace {cluster.namespace} does not exist in {cluster.name}"
    if account := _NO_ACCOUNT.search(found.message):
        return f"ServiceAccount {account[1]} does not exist in {cluster.name}"
    return None


def _context(api: ClusterApi, cluster: Cluster, clock: Clock, observer: Observer) -> TrialContext:
    return TrialContext(api, cluster, clock, on_phase=observer.on_state, on_warning=observer.on_warning)
