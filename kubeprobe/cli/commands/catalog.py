"""Commands for the catalog: schema, plan, apply, pause, resume."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, now, open_store, settings

if TYPE_CHECKING:
    from kubeprobe.cli.catalog_work import Given

Paths = Annotated[
    list[Path] | None, typer.Option("--file", "-f", metavar="PATH", help="A YAML file or a folder of them; repeatable.")
]
BuiltIn = Annotated[
    bool, typer.Option("--built-in", help="KubeProbe's own probes, bound to every cluster as is sensible.")
]
WithoutBindings = Annotated[bool, typer.Option("--without-bindings", help="With --built-in: templates and cases only.")]
Image = Annotated[
    str, typer.Option(metavar="IMAGE", help="With --built-in: the probes' image, where your clusters can pull it.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Remove what the catalog holds and these files don't declare.")]
Override = Annotated[
    bool, typer.Option("--override", help="Change what belongs to a source, too, until that is applied again.")
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
    from kubeprobe.cli.catalog_work import show_plan

    given = _given(file, built_in, without_bindings, image, override)
    with open_store() as store:
        show_plan(store, given, settings(), output, prune=prune)


def apply(
    file: Paths = None,
    built_in: BuiltIn = False,
    without_bindings: WithoutBindings = False,
    image: Image = "",
    prune: Prune = False,
    override: Override = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the catalog what YAML files say.

    All of it, or nothing where something is wrong.
    """
    from kubeprobe.cli.catalog_work import show_applied

    given = _given(file, built_in, without_bindings, image, override)
    with open_store() as store:
        show_applied(store, given, settings(), output, prune=prune)


def pause(binding: BindingName, cluster: OneCluster = None) -> None:
    """Open no more periodic runs for a binding.

    Runs under way go on.
    """
    from kubeprobe.catalog import pause as pause_binding

    with open_store() as store, store.writing() as session:
        count = pause_binding(session, binding, cluster, now=now())
    typer.echo(f"{binding} is paused: {_schedules(count)} stopped. `kubeprobe resume {binding}` goes on.")


def resume(binding: BindingName, cluster: OneCluster = None) -> None:
    """Go on with a binding that was paused.

    At its next regular time; nothing is caught up.
    """
    from kubeprobe.catalog import resume as resume_binding

    with open_store() as store, store.writing() as session:
        count = resume_binding(session, binding, cluster, now=now())
    typer.echo(f"{binding} goes on: {_schedules(count)}.")


def schema() -> None:
    """Print the catalog's JSON Schema, for editors."""
    from kubeprobe.catalog import json_schema
    from kubeprobe.cli.output import print_json

    print_json(json_schema())


def _given(file: list[Path] | None, built_in: bool, without_bindings: bool, image: str, override: bool) -> "Given":
    from kubeprobe.cli.catalog_work import Given

    if not file and not built_in:
        raise typer.BadParameter("Give --file PATH, --built-in or both.")
    if (image or without_bindings) and not built_in:
        raise typer.BadParameter("--image and --without-bindings go with --built-in.")
    return Given(
        tuple(file or ()), built_in=built_in, with_bindings=not without_bindings, image=image, override=override
    )


def _schedules(count: int) -> str:
    return f"{count} schedule{'' if count == 1 else 's'}"
