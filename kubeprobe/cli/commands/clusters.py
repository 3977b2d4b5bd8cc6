"""Commands for clusters: add, list, setup, check, label, cordon, uncordon, remove."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, Selector, open_installation, pairs, settings
from kubeprobe.cli.frame import echo

cluster_app = typer.Typer(help="Add, check and maintain clusters.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The cluster.")]


class Manifests(StrEnum):
    """How objects are printed."""

    YAML = "yaml"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(cluster_app, name="cluster")


@cluster_app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in KubeProbe.")],
    kubeconfig: Annotated[Path | None, typer.Option(metavar="FILE", help="Kubeconfig file to connect with.")] = None,
    context: Annotated[
        str | None, typer.Option(metavar="NAME", help="Context in it; default: its current one.")
    ] = None,
    in_cluster: Annotated[bool, typer.Option("--in-cluster", help="The cluster that KubeProbe runs in.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The local cluster of `kubeprobe up`.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="K=V", help="A label that bindings select it by; repeatable.")
    ] = None,
    pool: Annotated[str, typer.Option(metavar="NAME", help="The workers that serve it.")] = "default",
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Where probe pods are created.")] = "kubeprobe",
    max_in_flight: Annotated[int, typer.Option(metavar="N", help="Probe pods at a time.")] = 30,
    replace: Annotated[bool, typer.Option("--replace", help="Give an existing cluster this connection.")] = False,
) -> None:
    """Add a cluster. Its credentials are stored encrypted."""
    from kubeprobe.app import add_cluster
    from kubeprobe.cli.cluster_text import schedules_text
    from kubeprobe.fleet import credentials
    from kubeprobe.fleet.clusters import ClusterRegistration
    from kubeprobe.fleet.files import expand_home

    if (kubeconfig is not None) + in_cluster + local != 1:
        raise typer.BadParameter("Give one of --kubeconfig FILE, --in-cluster and --local.")
    if kubeconfig is not None:
        connection = credentials.from_kubeconfig(expand_home(kubeconfig), context)
    else:
        connection = credentials.in_cluster() if in_cluster else credentials.local(settings().local_kubeconfig())
    spec = ClusterRegistration(name, pairs(label or (), "label"), pool, namespace, max_in_flight)
    with open_installation() as installation:
        changes = add_cluster(installation, spec, connection, replace=replace)
    echo(f"Added {name}: {schedules_text(changes)}. `kubeprobe cluster check {name}` tests the connection.")


@cluster_app.command("list")
def list_them(selector: Selector = "", output: OutputOption = Output.TABLE) -> None:
    """List clusters: state, labels, load."""
    from kubeprobe.cli.cluster_text import print_clusters
    from kubeprobe.cli.output import print_json, remark
    from kubeprobe.fleet.selectors import parse_selector
    from kubeprobe.views import list_clusters

    with open_installation() as installation:
        found = installation.read(list_clusters, installation.clock(), parse_selector(selector)).items
    if output is Output.JSON:
        print_json(found)
    elif found:
        print_clusters(found)
    else:
        remark("No clusters match." if selector else "No clusters yet. See `kubeprobe cluster add --help`.")


@cluster_app.command("setup")
def setup(
    name: Name,
    cases: Annotated[str, typer.Option(metavar="CASE,...", help="For these cases; default: those bound to it.")] = "",
    all_cases: Annotated[bool, typer.Option("--all", help="For every case of the catalog.")] = False,
    own: Annotated[bool, typer.Option("--own", help="With an account of few rights for KubeProbe itself.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Create it in the cluster; default: print it.")] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of an administrator, used in place of the stored connection.")
    ] = None,
    context: Annotated[str | None, typer.Option(metavar="NAME", help="Context in it.")] = None,
    output: Annotated[Manifests, typer.Option("--output", "-o", help="How it is printed.")] = Manifests.YAML,
) -> None:
    """Print or apply what cases need in a cluster.

    The namespace, and each case's ServiceAccount and roles of least privilege: `setup NAME | kubectl apply -f -`, or
    `--apply`. Repeating it changes nothing.
    """
    from kubeprobe.app.setup import SetupRequest, apply_setup, compare_setup, plan_setup
    from kubeprobe.catalog.setup import ObjectAction
    from kubeprobe.cli.frame import NOT_DONE
    from kubeprobe.cli.output import print_json, remark, working
    from kubeprobe.cli.setup_text import print_objects, print_result
    from kubeprobe.fleet import credentials
    from kubeprobe.fleet.files import expand_home

    if cases and all_cases:
        raise typer.BadParameter("Give --cases or --all, not both.")
    if context and kubeconfig is None:
        raise typer.BadParameter("--context goes with --kubeconfig.")
    admin = credentials.from_kubeconfig(expand_home(kubeconfig), context) if kubeconfig else None
    request = SetupRequest(name, tuple(cases.replace(",", " ").split()), all_cases=all_cases, own=own)
    with open_installation() as installation:
        planned = installation.read(plan_setup, request)
        if not apply:
            print_objects(planned, as_json=output is Manifests.JSON)
            if why := compare_setup(installation, planned, admin):
                remark(f"Note: {why}.", "yellow")
            return
        with working(f"Setting up {name} ..."):
            result = apply_setup(installation, planned, admin)
    if output is Manifests.JSON:
        print_json(result.applied)
    else:
        print_result(planned, result)
    if result.loosened:
        remark(f"Changed, because {result.loosened}.", "yellow")
    raise typer.Exit(NOT_DONE if any(one.action is ObjectAction.REFUSED for one in result.applied) else 0)


@cluster_app.command("check")
def check(
    name: Name,
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="Also start a pod of this image there, and delete it.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Check whether probes can run in a cluster.

    Reachability, version, clock, namespace and permissions. Exit code 1 if there is a problem.
    """
    from kubeprobe.app import check_cluster
    from kubeprobe.cli.cluster_text import print_findings
    from kubeprobe.cli.frame import BAD_NEWS
    from kubeprobe.cli.output import print_json, working

    with open_installation() as installation, working(f"Checking {name} ..."):
        findings = check_cluster(installation, name, image)
    if output is Output.JSON:
        print_json(findings)
    else:
        print_findings(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else BAD_NEWS)


@cluster_app.command("label")
def label(
    name: Name,
    changes: Annotated[list[str], typer.Argument(metavar="K=V|K-...", help="Set or remove a label.")],
) -> None:
    """Set labels (K=V) and remove them (K-).

    Bindings follow the labels at once.
    """
    from kubeprobe.app import relabel_cluster
    from kubeprobe.cli.cluster_text import labels_text, schedules_text
    from kubeprobe.cli.output import remark

    given = pairs([change for change in changes if not change.endswith("-")], "label change")
    removed = [change[:-1] for change in changes if change.endswith("-")]
    with open_installation() as installation:
        result = relabel_cluster(installation, name, given, removed)
    if result.is_declared:
        remark(f"{name} is declared in the catalog: the next `kubeprobe apply` sets its labels again.", "yellow")
    echo(f"{name}: {labels_text(result.labels) or 'no labels'}; {schedules_text(result.schedules)}.")


@cluster_app.command("cordon")
def cordon(name: Name, reason: Annotated[str, typer.Option(help="Why, shown to others.")] = "") -> None:
    """Put a cluster into maintenance.

    No runs and no alerts until it is uncordoned.
    """
    from kubeprobe.app import cordon_cluster

    with open_installation() as installation:
        cordon_cluster(installation, name, reason)
    echo(f"{name} is cordoned: no runs, no alerts. `kubeprobe cluster uncordon {name}` ends it.")


@cluster_app.command("uncordon")
def uncordon(name: Name) -> None:
    """End a cluster's maintenance."""
    from kubeprobe.app import uncordon_cluster

    with open_installation() as installation:
        uncordon_cluster(installation, name)
    echo(f"{name} is probed again.")


@cluster_app.command("remove")
def remove(
    name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False
) -> None:
    """Remove a cluster and its schedules.

    The history of its runs stays.
    """
    from kubeprobe.app import remove_cluster
    from kubeprobe.fleet import clusters

    with open_installation() as installation:
        installation.read(clusters.get, name)
        if not yes:
            typer.confirm(f"Remove cluster {name} and its schedules?", abort=True)
        remove_cluster(installation, name)
    echo(f"Removed {name}. Runs that have started end by themselves; their outcome is unknown (ClusterRemoved).")
