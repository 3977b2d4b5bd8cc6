"""Commands for clusters: add, list, setup, check, label, cordon, uncordon, remove."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, Selector, now, open_store, pairs, settings

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
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    kubeconfig: Annotated[Path | None, typer.Option(metavar="FILE", help="Kubeconfig file that opens it.")] = None,
    context: Annotated[
        str | None, typer.Option(metavar="NAME", help="Context in it; default: its current one.")
    ] = None,
    in_cluster: Annotated[bool, typer.Option("--in-cluster", help="The cluster that KubeProbe runs in.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The local cluster of `kubeprobe up`.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="K=V", help="A label to choose it by; repeatable.")
    ] = None,
    pool: Annotated[str, typer.Option(metavar="NAME", help="The workers that serve it.")] = "default",
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Where probe pods are created.")] = "kubeprobe",
    max_in_flight: Annotated[int, typer.Option(metavar="N", help="Probe pods at a time.")] = 30,
    replace: Annotated[bool, typer.Option("--replace", help="Give an existing cluster this connection.")] = False,
) -> None:
    """Add a cluster. Its credentials are stored encrypted."""
    from kubeprobe.cli.cluster_work import add_cluster
    from kubeprobe.fleet import credentials
    from kubeprobe.fleet.clusters import ClusterSpec

    if (kubeconfig is not None) + in_cluster + local != 1:
        raise typer.BadParameter("Give one of --kubeconfig FILE, --in-cluster and --local.")
    if kubeconfig is not None:
        connection = credentials.from_kubeconfig(kubeconfig.expanduser(), context)
    else:
        connection = credentials.in_cluster() if in_cluster else credentials.local(settings().local_kubeconfig())
    spec = ClusterSpec(name, pairs(label or (), "label"), pool, namespace, max_in_flight)
    with open_store() as store:
        add_cluster(store, settings(), spec, connection, replace=replace)


@cluster_app.command("list")
def list_them(selector: Selector = "", output: OutputOption = Output.TABLE) -> None:
    """List clusters: labels, load, who watches them."""
    from kubeprobe.cli.cluster_work import show_clusters

    with open_store() as store:
        show_clusters(store, selector, output)


@cluster_app.command("setup")
def setup(
    name: Name,
    cases: Annotated[str, typer.Option(metavar="CASE,...", help="For these cases; default: those bound to it.")] = "",
    all_cases: Annotated[bool, typer.Option("--all", help="For every case of the catalog.")] = False,
    own: Annotated[bool, typer.Option("--own", help="With an account of few rights for KubeProbe itself.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Make it so in the cluster; else it is printed.")] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="As this administrator, not by the stored connection.")
    ] = None,
    context: Annotated[str | None, typer.Option(metavar="NAME", help="Context in it.")] = None,
    output: Annotated[Manifests, typer.Option("--output", "-o", help="How it is printed.")] = Manifests.YAML,
) -> None:
    """Print or apply what cases need in a cluster.

    The namespace, and each case's ServiceAccount and roles of least privilege: `setup NAME | kubectl apply -f -`, or
    `--apply`. Said twice, nothing changes.
    """
    from kubeprobe.cli.setup_work import Choice, apply_setup, print_setup
    from kubeprobe.fleet import credentials

    if cases and all_cases:
        raise typer.BadParameter("Give --cases or --all, not both.")
    if context and kubeconfig is None:
        raise typer.BadParameter("--context is one of --kubeconfig FILE.")
    admin = credentials.from_kubeconfig(kubeconfig.expanduser(), context) if kubeconfig else None
    choice = Choice(name, tuple(word for word in cases.replace(",", " ").split()), all_cases=all_cases, own=own)
    with open_store() as store:
        if apply:
            raise typer.Exit(apply_setup(store, settings(), choice, admin, as_json=output is Manifests.JSON))
        print_setup(store, settings(), choice, admin, as_json=output is Manifests.JSON)


@cluster_app.command("check")
def check(
    name: Name,
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="Also start a pod of this image there, and delete it.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask a cluster whether probes can run there.

    Reach, version, clock, namespace and permissions. Exit code 1 if something is wrong.
    """
    from kubeprobe.cli.cluster_work import check_one

    with open_store() as store:
        raise typer.Exit(check_one(store, settings(), name, image, output))


@cluster_app.command("label")
def label(
    name: Name,
    changes: Annotated[list[str], typer.Argument(metavar="K=V|K-...", help="Set a label, or take it away.")],
) -> None:
    """Set labels (K=V) and take them away (K-).

    What is bound to the cluster follows.
    """
    from kubeprobe.cli.cluster_work import relabel

    with open_store() as store:
        relabel(
            store,
            name,
            pairs([c for c in changes if not c.endswith("-")], "label change"),
            [c[:-1] for c in changes if c.endswith("-")],
        )


@cluster_app.command("cordon")
def cordon(name: Name, reason: Annotated[str, typer.Option(help="Why, for others to read.")] = "") -> None:
    """Put a cluster into maintenance.

    No runs, no alarms, until it is uncordoned.
    """
    from kubeprobe.fleet import clusters

    with open_store() as store, store.writing() as session:
        clusters.cordon(session, name, reason, now())
    typer.echo(f"{name} is cordoned: no runs, no alarms. `kubeprobe cluster uncordon {name}` ends it.")


@cluster_app.command("uncordon")
def uncordon(name: Name) -> None:
    """End a cluster's maintenance."""
    from kubeprobe.fleet import clusters

    with open_store() as store, store.writing() as session:
        clusters.uncordon(session, name)
    typer.echo(f"{name} is probed again.")


@cluster_app.command("remove")
def remove(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False) -> None:
    """Remove a cluster and its schedules.

    The history of its runs stays.
    """
    from kubeprobe.cli.cluster_work import remove_cluster

    with open_store() as store:
        remove_cluster(store, name, is_sure=yes)
