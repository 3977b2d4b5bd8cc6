"""Commands for the catalog from Git: source add, list, show, plan, sync, pause, resume, remove."""

# ruff: noqa: PLC0415, PLR0917 - imports inside commands keep every start fast; options are declared as parameters
from pathlib import Path
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, duration, open_installation
from kubeprobe.cli.frame import echo

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
    name: Annotated[str, typer.Option(metavar="NAME", help="Its name; default: the repository's.")] = "",
    branch: Annotated[str | None, typer.Option(metavar="BRANCH", help="The branch to follow; default: main.")] = None,
    path: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The catalog's folder in it; default: all of it.")
    ] = None,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="How often it is fetched; default: 1m.")] = None,
    prune: Annotated[
        bool | None,
        typer.Option("--prune/--no-prune", help="Remove what it declared earlier and no longer does; default: yes."),
    ] = None,
    deploy_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key for ssh, without a passphrase.")
    ] = None,
    known_hosts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Host keys for ssh; default: accept on first use, then check.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Holds the access token for https.")] = None,
    token_env: Annotated[str | None, typer.Option(metavar="NAME", help="Variable that holds it.")] = None,
    webhook_secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the secret that pushes are signed with.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GRANT",
            help="What it may declare beyond probes: clusters, in-cluster, local, targets, secret-env, secret-files; "
            "take-over: entries that were applied by hand; or none. Repeatable; default: none.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change an existing source; options that are not given stay.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be applied; keep nothing.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a source, and apply what it declares.

    It is fetched at once: what cannot be reached or applied is not added. Its secrets are stored encrypted.
    """
    from kubeprobe.app import add_source
    from kubeprobe.cli.catalog_text import catalog_problems
    from kubeprobe.cli.output import print_json, working
    from kubeprobe.cli.secret_files import SecretFiles
    from kubeprobe.cli.source_text import added_json, print_added
    from kubeprobe.sources import SourceSpec, parse_address, parse_grants

    address = parse_address(url)
    secret = SecretFiles(deploy_key, token_file, token_env, known_hosts, webhook_secret_file).read()
    interval = None if every is None else duration(every)
    granted = None if allow is None else parse_grants([name for name in allow if name != "none"])
    spec = SourceSpec(name or address.default_name(), address, branch, path, interval, prune, secret, granted)
    with open_installation() as installation, catalog_problems(output), working(f"Fetching {address.shown} ..."):
        added = add_source(installation, spec, replace=replace, dry_run=dry_run)
    if output is Output.JSON:
        print_json(added_json(added))
    else:
        print_added(added, dry_run=dry_run)


@source_app.command("list")
def list_them(output: OutputOption = Output.TABLE) -> None:
    """List sources: the commit that each is at, and why it is not at the newest."""
    from kubeprobe.cli.output import print_json, remark
    from kubeprobe.cli.source_text import print_sources
    from kubeprobe.views import list_sources

    with open_installation() as installation:
        found, now = installation.read(list_sources), installation.clock()
    if output is Output.JSON:
        print_json(found)
    elif found:
        print_sources(found, now)
    else:
        remark("No sources yet. `kubeprobe source add URL` adds one.")


@source_app.command("show")
def show(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Show one source: its commits, what is wrong with the newest, and what was changed by hand.

    Exit code 1 if something is wrong or was changed.
    """
    from kubeprobe.cli.frame import BAD_NEWS
    from kubeprobe.cli.output import print_json
    from kubeprobe.cli.source_text import print_source
    from kubeprobe.views import show_source

    with open_installation() as installation:
        found, now = installation.read(show_source, name), installation.clock()
    if output is Output.JSON:
        print_json(found)
    else:
        print_source(found, now)
    raise typer.Exit(BAD_NEWS if found.state == "problem" or found.drift else 0)


@source_app.command("plan")
def plan(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Show what applying the newest commit would change, field by field; changes nothing.

    Where that commit is applied already, this is what was changed by hand.
    """
    from kubeprobe.app import plan_source
    from kubeprobe.cli.catalog_text import catalog_problems, print_plan
    from kubeprobe.cli.output import print_json, working

    with open_installation() as installation, catalog_problems(output), working(f"Fetching {name} ..."):
        planned = plan_source(installation, name)
    if output is Output.JSON:
        print_json(planned)
    else:
        print_plan(planned)


@source_app.command("sync")
def sync(name: Name, output: OutputOption = Output.TABLE) -> None:
    """Fetch and apply the newest commit now, over what was changed by hand.

    Exit code 1 if it cannot be applied, 3 if another process is applying it.
    """
    from kubeprobe.app import sync_source
    from kubeprobe.cli.frame import BAD_NEWS, INCONCLUSIVE
    from kubeprobe.cli.output import print_json, working
    from kubeprobe.cli.source_text import print_synced, synced_json

    with open_installation() as installation, working(f"Fetching {name} ..."):
        synced = sync_source(installation, name)
    if output is Output.JSON:
        print_json(synced_json(name, synced))
    else:
        print_synced(name, synced)
    if synced.is_claim_lost:
        raise typer.Exit(INCONCLUSIVE)
    raise typer.Exit(BAD_NEWS if synced.error else 0)


@source_app.command("pause")
def pause(name: Name) -> None:
    """Stop syncing a source; what it declared stays in force."""
    from kubeprobe.app import pause_source

    with open_installation() as installation:
        pause_source(installation, name)
    echo(f"{name} is paused. `kubeprobe source resume {name}` resumes.")


@source_app.command("resume")
def resume(name: Name) -> None:
    """Sync a paused source again."""
    from kubeprobe.app import resume_source

    with open_installation() as installation:
        resume_source(installation, name)
    echo(f"{name} is synced again.")


@source_app.command("remove")
def remove(
    name: Name,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what it declares, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
) -> None:
    """Remove a source.

    What it declares stays, and no longer belongs to a source.
    """
    from kubeprobe.app import remove_source
    from kubeprobe.cli.catalog_text import print_items
    from kubeprobe.views import show_source

    with open_installation() as installation:
        found = installation.read(show_source, name)
        if not yes:
            what = f"and the {found.entries} entries it declares" if prune else "(what it declares stays)"
            typer.confirm(f"Remove source {name} {what}?", abort=True)
        applied = remove_source(installation, name, prune=prune)
    if applied:
        print_items(applied.items)
    kept = "" if prune else "; what it declared stays, and no longer belongs to a source"
    echo(f"Removed source {name}{kept}.")
