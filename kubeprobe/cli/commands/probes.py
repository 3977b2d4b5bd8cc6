"""Commands for writing probes: new, try, build, register."""

# ruff: noqa: PLC0415 - imports inside commands keep every start fast; options are declared as parameters
from pathlib import Path
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, open_store, pairs, settings

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
    typer.echo(f"Made {folder}: a probe that passes. `kubeprobe probe try {folder}` runs it once.")


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

    Exit code 0 pass, 1 fail, 3 unknown. The local cluster is started for the occasion where none runs.
    """
    from kubeprobe.authoring.trial import ByHand
    from kubeprobe.cli.probe_work import try_locally, try_on_cluster

    given = ByHand.checked(pairs(param or (), "parameter"), node)
    if cluster is None:
        if image is not None:
            raise typer.BadParameter("--image goes with --cluster: on the local cluster the folder is the image.")
        raise typer.Exit(try_locally(folder, settings(), given, output))
    with open_store() as store:
        raise typer.Exit(try_on_cluster(folder, store, settings(), (cluster, image), given, output))


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
    typer.echo(made)


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
    from kubeprobe.cli.probe_work import register_probe

    with open_store() as store:
        register_probe(folder, store, settings(), image, dry_run=dry_run)
