"""The commands: names, options, help. Each parses, calls a use case of `app` or a view, and prints the result.

Everything here is imported at every start, so it imports what is heavy inside the commands.
"""

from typing import Annotated

import typer

from kubeprobe import __version__
from kubeprobe.cli.commands import catalog, clusters, probes, processes, running, runs, sources
from kubeprobe.cli.frame import Frame

app = typer.Typer(
    name="kubeprobe",
    cls=Frame,
    help="Probe every Kubernetes cluster as a user would: on a schedule, around every change, and by hand.",
    epilog="Exit codes: 0 success; 1 a fail or a problem; 2 not done (wrong usage, no store); 3 unknown.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


for family in (running, runs, probes, catalog, clusters, sources, processes):
    family.register(app)
