"""Commands for writing probes: new, try, build, register."""

# ruff: noqa: PLC0415 - imports inside commands keep every start fast; options are declared as parameters
from pathlib import Path
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, open_installation, pairs, settings
from kubeprobe.cli.frame import echo

probe_app = typer.Typer(help="Write a probe: new, try, build, register.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The probe's folder.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(probe_app, name="probe")


@probe_app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the probe, its case and its folder.")],
    language: Annotated[str, typer.Option(metavar="LANGUAGE", help="python, go or shell.")] = "python",
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to make the folder.")] = Path(),
) -> None:
    """Make a folder with a probe that passes as it is."""
    from kubeprobe.authoring import new_probe

    folder = new_probe(name, directory, language)
    echo(f"Made {folder}: a probe that passes. `kubeprobe probe try {folder}` runs it once.")


@probe_app.command("try")
def try_once(
    folder: Folder,
    cluster: Annotated[
        str | None, typer.Option("--cluster", "-c", metavar="CLUSTER", help="Where; default: the local cluster.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="On a cluster: the image; default: the one pushed last.")
    ] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="A parameter.")] = None,
    node: Annotated[str | None, typer.Option("--node", "-n", metavar="NODE", help="On this node.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a probe once, and show its steps and verdict; registers and stores nothing.

    Exit code 0 pass, 1 fail, 3 unknown. Without --cluster, a local cluster is started if none is running.
    """
    from kubeprobe.app.probes import try_locally, try_on_cluster, unknown_parameters
    from kubeprobe.authoring import read_folder
    from kubeprobe.authoring.local import LOCAL
    from kubeprobe.authoring.trial import ByHand
    from kubeprobe.cli.output import remark, working
    from kubeprobe.cli.probe_text import print_trial, progress_of

    if cluster is None and image is not None:
        raise typer.BadParameter("--image goes with --cluster: on the local cluster the folder is the image.")
    given = ByHand.checked(pairs(param or (), "parameter"), node)
    probe, where = read_folder(folder), cluster or LOCAL
    for warning in unknown_parameters(given, probe):
        remark(warning, "yellow")
    progress = progress_of(probe, where)
    if cluster is None:
        with working(f"Trying {probe.case} ..."):
            trial = try_locally(settings(), probe, given, progress)
        raise typer.Exit(print_trial(probe, where, trial, output))
    with open_installation() as installation, working(f"Trying {probe.case} on {cluster} ..."):
        result = try_on_cluster(installation, cluster, probe, given, progress, image)
    code = print_trial(probe, where, result.trial, output)
    if result.lacks:
        first = "" if result.is_registered else f"`kubeprobe probe register {folder}`, then "
        setup = f"`kubeprobe cluster setup {cluster} --cases {probe.case} --apply`"
        remark(f"{result.lacks}: {first}{setup}", "yellow")
    raise typer.Exit(code)


@probe_app.command("build")
def build(
    folder: Folder,
    tag: Annotated[str, typer.Option(metavar="IMAGE", help="Its name; default: the one in catalog.yaml.")] = "",
    push: Annotated[bool, typer.Option("--push", help="Push it, and note its digest for try and register.")] = False,
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="An ARG of the Dockerfile, such as BASE; repeatable.")
    ] = None,
    builder: Annotated[
        str | None, typer.Option(metavar="PROGRAM", help="buildah, podman or docker; default: the first there is.")
    ] = None,
) -> None:
    """Build a probe's image with buildah, podman or docker."""
    from kubeprobe.authoring import read_folder
    from kubeprobe.authoring.image import Build, build_image

    found = read_folder(folder)
    made = build_image(found, Build(tag or found.image, push, pairs(build_arg or (), "build argument"), builder))
    echo(made)


@probe_app.command("register")
def register_folder(
    folder: Folder,
    image: Annotated[
        str | None, typer.Option(metavar="NAME@sha256:...", help="The image; default: the one pushed last.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
) -> None:
    """Put a probe's template and case into the catalog, with the digest of its image.

    Without an image, the folder itself is the image of the local cluster.
    """
    from kubeprobe.app.probes import register_probe
    from kubeprobe.cli.catalog_text import print_items
    from kubeprobe.cli.output import console, remark

    with open_installation() as installation:
        done = register_probe(installation, folder, image, dry_run=dry_run)
    if done.plan is not None:
        print_items(done.plan.items)
        console().print("\nNothing was changed.", style="bold")
        return
    assert done.applied is not None
    print_items([item for item in done.applied.items if (item.kind, item.name) in done.declaration.entries])
    if done.is_local_only:
        remark(f"{done.folder.image} is the folder {folder}, on the local cluster only: no image was pushed.", "yellow")
    console().print(
        f"Registered {done.folder.case}: catalog version {done.applied.version}."
        if done.applied.changed_anything
        else f"{done.folder.case} is registered already; nothing to change."
    )
