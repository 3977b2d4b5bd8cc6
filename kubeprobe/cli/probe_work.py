"""Probes that are being written, from the command line: a trial shown as a run is, and registering."""

import asyncio
import re
from pathlib import Path

from kubeprobe.authoring.folder import CATALOG_FILE, ProbeFolder, check_digest, read_folder
from kubeprobe.authoring.local import LOCAL, local_cluster, make_accounts, prepare_folder
from kubeprobe.authoring.trial import ByHand, Place, Trial, try_probe
from kubeprobe.catalog import apply, known_names, make_plan
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.catalog_work import connector, print_items
from kubeprobe.cli.output import console, print_json, remark, working
from kubeprobe.cli.waiting import EXIT_CODES, show_results
from kubeprobe.clock import utc_now
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.names import nearest
from kubeprobe.runs import Judgement
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.views import RunView, as_json
from kubeprobe.vocabulary import Reason, RunState, Verdict

_NO_ACCOUNT = re.compile(r"error looking up service account ([^\s:]+):")
"""As the API server's admission says it (k8s.io/kubernetes plugin/pkg/admission/serviceaccount)."""


def try_locally(path: Path, settings: Settings, given: ByHand, output: Output) -> int:
    """Run a probe once on the local cluster; gives the exit code."""
    folder = read_folder(path)
    _doubt(given, folder)

    async def run() -> Trial:
        async with local_cluster(folder, settings, utc_now()) as (api, cluster):
            return await try_probe(folder, _place(api, cluster, folder), given)

    with working(f"Trying {folder.case} ..."):
        trial = asyncio.run(run())
    return _show(folder, LOCAL, trial, output)


def try_on_cluster(
    path: Path,
    store: Store,
    settings: Settings,
    where: tuple[str, str | None],
    given: ByHand,
    output: Output,
) -> int:
    """Run a probe once on a registered cluster, with an image or the one pushed last; gives the exit code."""
    name, image = where
    with store.reading() as session:
        cluster = clusters.get(session, name)
    folder = read_folder(path)
    _doubt(given, folder)
    is_local = cluster.connection_kind == LOCAL
    if is_local:
        prepare_folder(folder, settings)
    else:
        folder = folder.with_image(image or _image_for(folder, name))

    async def run() -> Trial:
        clients = ClusterClients(Cipher.from_settings(settings))
        try:
            api = await clients.get(cluster)
            if is_local:
                await make_accounts(api, cluster, folder)
            return await try_probe(folder, _place(api, cluster, folder), given)
        finally:
            await clients.close()

    with working(f"Trying {folder.case} on {name} ..."):
        trial = asyncio.run(run())
    code = _show(folder, name, trial, output)
    if missing := _missing(trial.judgement, cluster):
        with store.reading() as session:
            is_registered = folder.case in known_names(session)["ProbeCase"]
        first = "" if is_registered else f"`kubeprobe probe register {path}`, then "
        remark(f"{missing}: {first}`kubeprobe cluster setup {name} --cases {folder.case} --apply`", "yellow")
    return code


def register_probe(path: Path, store: Store, settings: Settings, image: str | None, *, dry_run: bool) -> None:
    """Put template and case into the catalog: shown, and applied in one transaction."""
    with store.writing() as session:
        folder = read_folder(path, known_names(session))
        pinned = check_digest(image) if image else folder.pushed_image
        declaration = folder.with_image(pinned).declaration
        if dry_run:
            print_items(make_plan(session, declaration, connector(settings), utc_now()).items)
            console().print("\nNothing was changed.", style="bold")
            return
        applied = apply(session, declaration, connector(settings), utc_now())
    print_items([item for item in applied.items if (item.kind, item.name) in declaration.entries])
    if pinned is None and folder.is_an_image:
        prepare_folder(folder, settings)
        remark(f"{folder.image} is the folder {path}, on the local cluster only: no image of it was pushed.", "yellow")
    console().print(
        f"Registered {folder.case}: catalog version {applied.version}."
        if applied.changed_anything
        else f"{folder.case} is registered already; nothing to change."
    )


def _image_for(folder: ProbeFolder, cluster: str) -> str | None:
    """The image that a real cluster can pull; None: the one that the template names."""
    if folder.pushed_image or not folder.is_an_image:
        return folder.pushed_image
    if "/" in folder.image or "@" in folder.image:  # with a registry: somebody has written it there
        return None
    raise InvalidInputError(
        f"cluster {cluster} cannot pull {folder.image!r}: no image of {folder.path} was pushed. `kubeprobe probe build "
        f"{folder.path} --tag REGISTRY/{folder.case}:1 --push` does that; --image names another one."
    )


def _missing(found: Judgement, cluster: Cluster) -> str | None:
    """What the cluster lacks that `cluster setup` makes; None where it lacks nothing of the kind."""
    if found.reason is Reason.NAMESPACE_MISSING:
        return f"namespace {cluster.namespace} does not exist in {cluster.name}"
    if account := _NO_ACCOUNT.search(found.message):
        return f"ServiceAccount {account[1]} does not exist in {cluster.name}"
    return None


def _doubt(given: ByHand, folder: ProbeFolder) -> None:
    """Say which parameters the folder does not name: they may be meant, or mistyped."""
    known = folder.parameters
    for name in sorted(set(given.parameters) - known):
        remark(f"{folder.path / CATALOG_FILE} names no parameter {name!r}.{nearest(name, known)}", "yellow")


def _place(api: ClusterApi, cluster: Cluster, folder: ProbeFolder) -> Place:
    about = f"{folder.case} on {cluster.name}"
    return Place(
        api,
        cluster,
        utc_now,
        tell=lambda state: remark(f"{about}: {state}"),
        warn=lambda told: remark(f"{about}: {told}", "yellow"),
    )


def _show(folder: ProbeFolder, cluster: str, trial: Trial, output: Output) -> int:
    """A trial as `run --wait` shows a run; below it the log of one that did not pass, which is kept nowhere."""
    found, view = trial.judgement, _as_run(folder, cluster, trial)
    if output is Output.JSON:
        print_json([as_json(view) | {"log": trial.log}])
    else:
        show_results([view])
        if found.verdict is not Verdict.PASS and trial.log.strip():
            console().print("\nLog", style="bold")
            console().print(trial.log.rstrip())
    return EXIT_CODES[found.verdict]


def _as_run(folder: ProbeFolder, cluster: str, trial: Trial) -> RunView:
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
