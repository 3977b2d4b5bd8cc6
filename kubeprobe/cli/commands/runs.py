"""Commands that query: status, runs, show, logs."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from dataclasses import replace
from typing import Annotated

import typer

from kubeprobe.cli.arguments import (
    Case,
    ClusterName,
    Output,
    OutputOption,
    Selector,
    duration,
    open_installation,
)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.")]
VERDICTS = ("pass", "fail", "unknown")
TRIGGERS = ("periodic", "change", "manual")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(status)
    app.command()(runs)
    app.command()(show)
    app.command()(logs)


def status(
    selector: Selector = "",
    nodes: Annotated[bool, typer.Option("--nodes", help="Node by node, where cases have verdicts of nodes.")] = False,
    case: Case = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the fleet: the standing of every case on every cluster.

    Below, the open alerts.
    """
    from kubeprobe.cli.output import print_json, working
    from kubeprobe.cli.status_text import print_fleet, print_nodes
    from kubeprobe.fleet.selectors import parse_selector
    from kubeprobe.views import fleet_status, list_node_cells

    if case is not None and not nodes:
        raise typer.BadParameter("--case goes with --nodes")
    with open_installation() as installation, working("Reading ..."):
        now = installation.clock()
        if nodes:
            cells = installation.read(list_node_cells, parse_selector(selector), case).items
        else:
            found = installation.read(fleet_status, now, parse_selector(selector))
    if output is Output.JSON:
        print_json(cells if nodes else found)
    elif nodes:
        print_nodes(cells, now)
    else:
        print_fleet(found, now)


def runs(
    case: Case = None,
    cluster: ClusterName = None,
    node: Annotated[str | None, typer.Option("--node", "-n", metavar="NODE", help="Only on this node.")] = None,
    verdict: Annotated[str | None, typer.Option(metavar="VERDICT", help="Only pass, fail or unknown.")] = None,
    trigger: Annotated[str | None, typer.Option(metavar="TRIGGER", help="Only periodic, change or manual.")] = None,
    binding: Annotated[str | None, typer.Option(metavar="BINDING", help="Only this binding.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Opened within the last 90s, 1h30m, 7d ...")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="How many at most.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue: print outcomes as they are stored (JSON: one per line).")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List runs, newest first."""
    from kubeprobe.cli.run_list import follow_runs, print_runs
    from kubeprobe.views import RunFilter, list_runs

    wanted = RunFilter(
        case=case,
        cluster=cluster,
        node=node,
        verdict=_one_of(verdict, VERDICTS, "verdict"),
        trigger=_one_of(trigger, TRIGGERS, "trigger"),
        binding=binding,
    )
    age = duration(since) if since else None
    with open_installation() as installation:
        if age is not None:
            wanted = replace(wanted, since=installation.clock() - age)
        if follow:
            follow_runs(installation, wanted, limit, output)
        else:
            print_runs(installation.read(list_runs, wanted, limit).items, output)


def show(run: RunId, output: OutputOption = Output.TABLE) -> None:
    """Show everything about one run.

    Its cause, its outcome, its times from due to stored.
    """
    from kubeprobe.cli.output import print_json
    from kubeprobe.cli.run_text import print_run
    from kubeprobe.views import get_run

    with open_installation() as installation:
        found, now = installation.read(get_run, run), installation.clock()
    if output is Output.JSON:
        print_json(found)
    else:
        print_run(found, now)


def logs(
    run: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the probe ends.")] = False,
) -> None:
    """Print a run's log.

    From the cluster while its pod exists; afterwards its last lines, which are kept of runs that did not pass.
    """
    from kubeprobe.app import read_log
    from kubeprobe.cli.output import remark, write

    with open_installation() as installation:
        if read_log(installation, run, write, follow=follow):
            remark("The probe has ended.")


def _one_of(given: str | None, known: tuple[str, ...], what: str) -> str | None:
    if given is not None and given not in known:
        raise typer.BadParameter(f"{given!r} is not a {what}; expected {', '.join(known[:-1])} or {known[-1]}")
    return given
