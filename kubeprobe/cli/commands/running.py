"""Commands that open runs: run, change."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, Selector, duration, open_installation, pairs

Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait for the outcomes: exit code 0 all pass, 1 a fail, 3 an unknown.")
]
Timeout = Annotated[
    str,
    typer.Option(metavar="DURATION", help="With --wait: stop waiting then (exit code 3); the runs continue."),
]
DEFAULT_TIMEOUT = "30m"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(run)
    app.command()(change)


def run(
    case: Annotated[str, typer.Argument(metavar="CASE", help="The case to run.")],
    cluster: Annotated[
        list[str] | None, typer.Option("--cluster", "-c", metavar="CLUSTER", help="On this cluster; repeatable.")
    ] = None,
    selector: Selector = "",
    node: Annotated[
        list[str] | None, typer.Option("--node", "-n", metavar="NODE", help="On this node of the cluster; repeatable.")
    ] = None,
    nodes_selector: Annotated[
        str, typer.Option(metavar="SELECTOR", help="On the nodes with these labels, such as zone=a.")
    ] = "",
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="A parameter, for these runs only.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a case now, on clusters by name or by label.

    Or on nodes of them.
    """
    from kubeprobe.app import RequestedRuns, request_runs
    from kubeprobe.cli.waiting import report
    from kubeprobe.trigger import RunRequest

    request = RunRequest(
        case,
        tuple(cluster or ()),
        selector,
        pairs(param or (), "parameter") or None,
        nodes=tuple(node or ()),
        nodes_selector=nodes_selector,
    )
    timeout_s = duration(timeout).total_seconds() if wait else None
    with open_installation() as installation:
        requested = RequestedRuns(installation, request_runs(installation, request))
        raise typer.Exit(report(requested, timeout_s, output))


def change(
    component: Annotated[str, typer.Option(metavar="NAME", help="What changed, such as coredns.")],
    cluster: Annotated[
        list[str], typer.Option("--cluster", "-c", metavar="CLUSTER", help="Where it changed; repeatable.")
    ],
    node: Annotated[
        str | None, typer.Option("--node", "-n", metavar="NODE", help="Where on the one cluster it changed.")
    ] = None,
    version: Annotated[str, typer.Option(metavar="VERSION", help="What it was changed to.")] = "",
    change_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Idempotency key: a repeated id opens no new runs.")
    ] = "",
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    output: OutputOption = Output.TABLE,
) -> None:
    """Record a component change.

    Cases that are bound to changes of the component run at once on the clusters that are named.
    """
    from kubeprobe.app import RequestedRuns, record_change
    from kubeprobe.cli.waiting import report

    timeout_s = duration(timeout).total_seconds() if wait else None
    with open_installation() as installation:
        opened = record_change(installation, component, version, clusters=cluster, change_id=change_id, node=node)
        none = f"Recorded. Nothing runs: no binding for changes of {component} there, or the clusters are cordoned."
        raise typer.Exit(report(RequestedRuns(installation, opened), timeout_s, output, none=none))
