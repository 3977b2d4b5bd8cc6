"""Commands for the catalog: schema, plan, apply, pause, resume."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, open_installation
from kubeprobe.cli.frame import echo

if TYPE_CHECKING:
    from kubeprobe.app import CatalogFiles

Paths = Annotated[
    list[Path] | None, typer.Option("--file", "-f", metavar="PATH", help="A YAML file or a folder of them; repeatable.")
]
BuiltIn = Annotated[bool, typer.Option("--built-in", help="KubeProbe's own probes, bound to every cluster.")]
WithoutBindings = Annotated[bool, typer.Option("--without-bindings", help="With --built-in: templates and cases only.")]
Image = Annotated[
    str, typer.Option(metavar="IMAGE", help="With --built-in: the probes' image, where your clusters can pull it.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what the catalog holds and these files don't declare.")]
Override = Annotated[
    bool, typer.Option("--override", help="Change entries of sources, too, until these are applied again.")
]
BindingName = Annotated[str, typer.Argument(metavar="BINDING", help="The binding.")]
OneCluster = Annotated[str | None, typer.Option("--cluster", "-c", help="On this cluster only.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(plan)
    app.command()(apply)
    app.command()(pause)
    app.command()(resume)
    app.command()(schema)


def plan(
    file: Paths = None,
    built_in: BuiltIn = False,
    without_bindings: WithoutBindings = False,
    image: Image = "",
    prune: Prune = False,
    override: Override = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what `apply` would do; changes nothing.

    What is added, changed and removed, what it costs each cluster, and the next times of each schedule.
    """
    from kubeprobe.app import plan_catalog
    from kubeprobe.cli.catalog_text import catalog_problems, print_plan
    from kubeprobe.cli.output import print_json, working

    files = _files(file, built_in, without_bindings, image, override)
    with open_installation() as installation, catalog_problems(output), working("Planning ..."):
        planned = plan_catalog(installation, files, prune=prune)
    if output is Output.JSON:
        print_json(planned)
    else:
        print_plan(planned, "Nothing was changed.")


def apply(
    file: Paths = None,
    built_in: BuiltIn = False,
    without_bindings: WithoutBindings = False,
    image: Image = "",
    prune: Prune = False,
    override: Override = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Apply YAML files to the catalog.

    All of it, or nothing where there is a problem.
    """
    from kubeprobe.app import apply_catalog
    from kubeprobe.cli.catalog_text import catalog_problems, print_applied
    from kubeprobe.cli.output import print_json, working

    files = _files(file, built_in, without_bindings, image, override)
    with open_installation() as installation, catalog_problems(output), working("Applying ..."):
        applied = apply_catalog(installation, files, prune=prune)
    if output is Output.JSON:
        print_json(applied)
    else:
        print_applied(applied)


def pause(binding: BindingName, cluster: OneCluster = None) -> None:
    """Open no more periodic runs of a binding.

    Runs that have started continue.
    """
    from kubeprobe.app import pause_binding

    with open_installation() as installation:
        count = pause_binding(installation, binding, cluster)
    echo(f"{binding} is paused: {_schedules(count)} stopped. `kubeprobe resume {binding}` resumes.")


def resume(binding: BindingName, cluster: OneCluster = None) -> None:
    """Resume a paused binding.

    Resuming starts with the next slot; slots missed while paused are not caught up.
    """
    from kubeprobe.app import resume_binding

    with open_installation() as installation:
        count = resume_binding(installation, binding, cluster)
    echo(f"{binding} is resumed: {_schedules(count)}.")


def schema() -> None:
    """Print the catalog's JSON Schema, for editors."""
    from kubeprobe.catalog import json_schema
    from kubeprobe.cli.output import print_json

    print_json(json_schema())


def _files(
    file: list[Path] | None, built_in: bool, without_bindings: bool, image: str, override: bool
) -> "CatalogFiles":
    from kubeprobe.app import CatalogFiles

    if not file and not built_in:
        raise typer.BadParameter("Give --file PATH, --built-in or both.")
    if (image or without_bindings) and not built_in:
        raise typer.BadParameter("--image and --without-bindings go with --built-in.")
    return CatalogFiles(
        tuple(file or ()), built_in=built_in, with_bindings=not without_bindings, image=image, override=override
    )


def _schedules(count: int) -> str:
    return f"{count} schedule{'' if count == 1 else 's'}"
