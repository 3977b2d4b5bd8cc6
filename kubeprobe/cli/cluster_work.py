"""Clusters from the command line: each change and the schedules that follow from it are one transaction."""

import asyncio
from collections.abc import Mapping, Sequence

import typer
from rich.text import Text

from kubeprobe.catalog import Catalog, ScheduleChanges, cases_bound_to, load_catalog, sync_schedules
from kubeprobe.catalog.setup import check_cases, check_sweeping, creatable
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.frame import BAD_NEWS
from kubeprobe.cli.output import Columns, console, print_json, remark, styled, working
from kubeprobe.cli.setup_work import place_of
from kubeprobe.clock import utc_now
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.check import Finding, check_cluster
from kubeprobe.fleet.check_pod import ImageTrial
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.store.migrate import installation_id
from kubeprobe.views import list_clusters

NEEDED_FOR_CASES = frozenset({"reachable", "namespace", "permissions"})
"""Checks of a cluster without which there is no sense in asking about its cases."""


def add_cluster(
    store: Store, settings: Settings, spec: clusters.ClusterSpec, connection: Connection, *, replace: bool
) -> None:
    """Add a cluster, or with `replace` give it another connection."""
    now = utc_now()
    with store.writing() as session:
        cipher = Cipher.from_settings(settings)
        clusters.add(session, spec, connection, cipher, now, replace=replace)
        changes = sync_schedules(session, now)
    typer.echo(f"Added {spec.name}: {_schedules(changes)}. `kubeprobe cluster check {spec.name}` tries it.")


def show_clusters(store: Store, selector: str, output: Output) -> None:
    """List clusters."""
    with store.reading() as session:
        found = list_clusters(session, utc_now(), parse_selector(selector))
    if output is Output.JSON:
        print_json(found)
        return
    if not found:
        remark("No clusters match." if selector else "No clusters yet. `kubeprobe cluster add --help` tells how.")
        return
    Columns("NAME", "STATE", "LABELS", "POOL", "PODS", "CONNECTION", "NOTE").print(
        (
            cluster.name,
            styled(cluster.state),
            ",".join(f"{key}={value}" for key, value in sorted(cluster.labels.items())) or "-",
            cluster.pool,
            f"{cluster.in_flight}/{cluster.max_in_flight}",
            cluster.connection,
            cluster.cordon_reason if cluster.cordoned_at else "",
        )
        for cluster in found
    )


def check_one(store: Store, settings: Settings, name: str, image: str, output: Output) -> int:
    """Ask a cluster whether probes can run there; gives the exit code."""
    with store.reading() as session:
        cluster = clusters.get(session, name)
        catalog = load_catalog(session)
    trial = ImageTrial(image, installation_id(store)) if image else None
    with working(f"Asking {name} ..."):
        findings = asyncio.run(_ask(cluster, catalog, Cipher.from_settings(settings), trial))
    if output is Output.JSON:
        print_json(findings)
    else:
        print_findings(findings)
    return 0 if all(finding.ok for finding in findings) else BAD_NEWS


def print_findings(findings: Sequence[Finding]) -> None:
    """What was asked, what was found, and what to do where it is not well."""
    lines = Columns("", "", "").lines(
        [
            (Text("ok", "green") if finding.ok else Text("problem", "bold red"), finding.check, finding.found)
            for finding in findings
        ],
        title=False,
    )
    out = console()
    for line, finding in zip(lines, findings, strict=True):
        out.print(line)
        if not finding.ok and finding.remedy:
            out.print(f"         -> {finding.remedy}", style="yellow")


def relabel(store: Store, name: str, given: Mapping[str, str], taken: Sequence[str]) -> None:
    """Set and take away labels."""
    now = utc_now()
    with store.writing() as session:
        cluster = clusters.get(session, name)
        if absent := [key for key in taken if key not in cluster.labels]:
            raise InvalidInputError(f"Cluster {name!r} has no label {absent[0]!r}; nothing was changed.")
        if cluster.spec is not None:
            remark(f"{name} is declared in the catalog: the next `kubeprobe apply` sets its labels again.", "yellow")
        kept = {key: value for key, value in cluster.labels.items() if key not in taken}
        labels = clusters.set_labels(session, name, {**kept, **given}).labels
        changes = sync_schedules(session, now)
    shown = ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "no labels"
    typer.echo(f"{name}: {shown}; {_schedules(changes)}.")


def remove_cluster(store: Store, name: str, *, is_sure: bool) -> None:
    """Remove a cluster, after asking."""
    with store.reading() as session:
        clusters.get(session, name)
    if not is_sure:
        typer.confirm(f"Remove cluster {name} and its schedules?", abort=True)
    with store.writing() as session:
        clusters.remove(session, name)
        sync_schedules(session, utc_now())
    typer.echo(f"Removed {name}. Pods of runs under way end by themselves; their outcome is unknown (ClusterRemoved).")


async def _ask(cluster: Cluster, catalog: Catalog, cipher: Cipher, trial: ImageTrial | None) -> list[Finding]:
    clients = ClusterClients(cipher)
    try:
        api = await clients.get(cluster)
        found = await check_cluster(api, cluster.namespace, trial, watches_nodes=cluster.watches_nodes)
        place = place_of(cluster)
        cases = cases_bound_to(catalog, place)
        if cases and all(one.ok for one in found if one.check in NEEDED_FOR_CASES):
            found += await check_cases(api, catalog, cases, place)
            if swept := creatable(catalog, cases, place):
                found.append(await check_sweeping(api, swept, place))
        return found
    finally:
        await clients.close()


def _schedules(changes: ScheduleChanges) -> str:
    return f"schedules: {changes.added} added, {changes.changed} changed, {changes.removed} removed"
