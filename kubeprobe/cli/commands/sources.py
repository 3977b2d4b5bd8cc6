"""Commands for the catalog from Git: source add, list, show, plan, sync, pause, resume, remove."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from pathlib import Path
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, duration, now, open_store, settings

source_app = typer.Typer(
    help="Take the catalog from Git: folders of repositories that are applied whenever they change.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The source.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(source_app, name="source")


@source_app.command("add")
def add(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="https://HOST/REPO.git, ssh://git@HOST/REPO, git@HOST:REPO, or a path.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call it; default: as the repository.")] = "",
    branch: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch that is followed; default: main.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The catalog's folder in it; default: all of it.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How often it is looked at; default: 1m.")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option("--prune/--no-prune", help="Remove what it declared earlier and no longer does; default: yes."),
    ] = None,
    deploy_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key for ssh, without a passphrase.")
    ] = None,
    known_hosts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Host keys for ssh; default: trust the first, keep to it.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Holds the access token for https.")] = None,
    token_env: Annotated[str | None, typer.Option(metavar="NAME", help="Variable that holds it.")] = None,
    webhook_secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the secret that pushes are signed with.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change one that exists; what is not given stays.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied; keep nothing.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a source, and apply what it declares.

    It is fetched at once: what cannot be reached or applied is not added. Its secrets are stored encrypted.
    """
    from kubeprobe.cli import source_work
    from kubeprobe.sources import SourceSpec, parse_address

    address = parse_address(url)
    secret = source_work.SecretFiles(deploy_key, token_file, token_env, known_hosts, webhook_secret_file).read()
    often = None if every is None else duration(every)
    spec = SourceSpec(name or address.default_name(), address, branch, path, often, prune, secret)
    with open_store() as store:
        source_work.add(store, settings(), spec, output, replace=replace, dry_run=dry_run)


@source_app.command("list")
def list_them(output: OutputOption = Output.TABLE) -> None:
    """List sources: the commit that each is at, and what keeps it from the next."""
    from kubeprobe.cli.source_work import show_list

    with open_store() as store:
        show_list(store, now(), output)


@source_app.command("show")
def show(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Show one source: its commits, what is wrong with the newest, and what was changed by hand.

    Exit code 1 if something is wrong or was changed.
    """
    from kubeprobe.cli.source_work import show_one

    with open_store() as store:
        raise typer.Exit(show_one(store, name, now(), output))


@source_app.command("plan")
def plan(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Show what applying the newest commit would change, field by field; changes nothing.

    Where that commit is in force already, this is what was changed by hand.
    """
    from kubeprobe.cli import source_work

    with open_store() as store:
        source_work.plan(store, settings(), name, output)


@source_app.command("sync")
def sync(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Fetch and apply the newest commit now, over what was changed by hand.

    Exit code 1 if it cannot be applied, 3 if somebody else is applying it.
    """
    from kubeprobe.cli import source_work

    with open_store() as store:
        raise typer.Exit(source_work.sync(store, settings(), name, output))


@source_app.command("pause")
def pause(name: Name) -> None:
    """Look at a source no more; what it declared stays in force."""
    from kubeprobe.sources import set_paused

    with open_store() as store, store.writing() as session:
        set_paused(session, name, now(), now())
    typer.echo(f"{name} is paused. `kubeprobe source resume {name}` goes on.")


@source_app.command("resume")
def resume(name: Name) -> None:
    """Look at a paused source again."""
    from kubeprobe.sources import set_paused

    with open_store() as store, store.writing() as session:
        set_paused(session, name, None, now())
    typer.echo(f"{name} is looked at again.")


@source_app.command("remove")
def remove(
    name: Name,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what it declares, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Forget a source.

    What it declares stays, and belongs to nobody.
    """
    from kubeprobe.cli import source_work

    with open_store() as store:
        source_work.remove(store, settings(), name, prune=prune, is_sure=yes)
