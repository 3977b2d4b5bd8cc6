"""Sources from the command line: what is added is fetched and applied at once, so that what is wrong shows at once."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import typer
from rich.text import Text

from kubeprobe.catalog import CatalogError
from kubeprobe.cli.arguments import Output
from kubeprobe.cli.catalog_work import applied_json, print_items, print_plan
from kubeprobe.cli.frame import BAD_NEWS, INCONCLUSIVE, NOT_DONE
from kubeprobe.cli.output import Cell, Columns, ago, brief, console, print_json, remark, styled, working
from kubeprobe.errors import InvalidInputError
from kubeprobe.settings import Settings
from kubeprobe.sources import (
    Added,
    Drift,
    Secret,
    SourceSpec,
    SyncContext,
    add_source,
    get_source,
    plan_source,
    remove_source,
    sync_now,
)
from kubeprobe.store import Store
from kubeprobe.views.sources import SourceView, list_sources, show_source

SHOWN_COMMIT = 12
MAX_SECRET_BYTES = 100_000
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class SecretFiles:
    """Where a source's secrets are read from."""

    deploy_key: Path | None = None
    token_file: Path | None = None
    token_env: str | None = None
    known_hosts: Path | None = None
    webhook_secret: Path | None = None

    def read(self) -> Secret:
        """The secrets. Raises InvalidInputError, without telling any of them."""
        if self.token_file and self.token_env:
            raise InvalidInputError("the token is given twice: by --token-file and by --token-env")
        token = _read(self.token_file).strip()
        if self.token_env:
            token = os.environ.get(self.token_env, "").strip()
        if (self.token_file or self.token_env) and not token:
            where = f"${self.token_env}" if self.token_env else self.token_file
            raise InvalidInputError(f"{where} holds no token")
        return Secret(
            deploy_key=_read(self.deploy_key),
            token=token,
            known_hosts=_read(self.known_hosts),
            webhook=_read(self.webhook_secret).strip(),
        )


def add(store: Store, settings: Settings, spec: SourceSpec, output: Output, *, replace: bool, dry_run: bool) -> None:
    """Add a source, and show what is applied with it."""
    with working(f"Fetching {spec.address.shown} ..."):
        added = _told(
            output, lambda: add_source(SyncContext.of(store, settings), spec, replace=replace, dry_run=dry_run)
        )
    if output is Output.JSON:
        print_json(_added_json(added))
        return
    print_plan(added.plan)
    if added.known_hosts:
        remark("Taken on trust, and held to from now on (--known-hosts names it beforehand):", "yellow")
        remark(added.known_hosts.strip(), "yellow")
    _print_added(added, dry_run=dry_run)


def _print_added(added: Added, *, dry_run: bool) -> None:
    out, source, commit = console(), added.source, added.commit[:SHOWN_COMMIT]
    if added.changes is not None:
        out.print(
            f"Changes of source {source.name} itself:"
            if added.changes
            else f"Source {source.name} itself is as it was."
        )
    for change in added.changes or ():
        out.print(f"  {change}", markup=False)
    often = f"looked at every {brief(timedelta(seconds=source.every_s))}"
    if source.paused_at is not None:
        often = f"still paused: `kubeprobe source resume {source.name}` goes on"
    done = "Added" if added.changes is None else "Changed"
    if dry_run:
        out.print(f"{source.branch} is at {commit}; nothing was changed.", style="bold")
    else:
        out.print(f"{done} source {source.name}, applied at {commit}; {often}.", style="bold")


def show_list(store: Store, now: datetime, output: Output) -> None:
    """List sources."""
    with store.reading() as session:
        found = list_sources(session)
    if output is Output.JSON:
        print_json(found)
        return
    if not found:
        remark("No sources yet. `kubeprobe source add URL` adds one.")
        return
    Columns("NAME", "STATE", "COMMIT", "APPLIED", "SEEN", "DRIFT", "FROM", "NOTE").print(
        (
            source.name,
            styled(source.state),
            (source.applied_commit or "-")[:SHOWN_COMMIT],
            ago(source.applied_at, now),
            ago(source.seen_at, now),
            str(len(source.drift)) if source.drift else "-",
            _from(source),
            source.error.partition("\n")[0],
        )
        for source in found
    )


def show_one(store: Store, name: str, now: datetime, output: Output) -> int:
    """Show one source; gives the exit code."""
    with store.reading() as session:
        found = show_source(session, name)
    if output is Output.JSON:
        print_json(found)
    else:
        _print_source(found, now)
    return BAD_NEWS if found.state == "problem" or found.drift else 0


def sync(store: Store, settings: Settings, name: str, output: Output) -> int:
    """Look at a source now; gives the exit code."""
    context = SyncContext.of(store, settings)
    with store.reading() as session:
        get_source(session, name)
    with working(f"Fetching {name} ..."):
        synced = sync_now(context, name)
    if output is Output.JSON:
        applied = applied_json(synced.applied) if synced.applied else None
        found = {"source": name, "commit": synced.commit, "error": synced.error, "applied": applied}
        print_json(found | {"lost": synced.is_lost})
    elif synced.is_lost:
        remark(f"Somebody else is applying {name}, or has removed it; nothing was changed here.", "yellow")
        remark(f"`kubeprobe source show {name}` tells what came of it.", "yellow")
    elif synced.error:
        remark(synced.error, "red")
        remark("Not applied; the catalog stays as it was.", "red")
    elif synced.applied:
        print_items(synced.applied.items)
        done = "applied" if synced.applied.changed_anything else "nothing to change"
        console().print(f"{name} is at {(synced.commit or '')[:SHOWN_COMMIT]}: {done}.")
    if synced.is_lost:
        return INCONCLUSIVE
    return BAD_NEWS if synced.error else 0


def plan(store: Store, settings: Settings, name: str, output: Output) -> None:
    """Show what a look at a source would change now."""
    with store.reading() as session:
        row = get_source(session, name)
    with working(f"Fetching {name} ..."):
        planned = _told(output, lambda: plan_source(SyncContext.of(store, settings), row))
    if output is Output.JSON:
        print_json(planned.as_json())
    else:
        print_plan(planned)


def remove(store: Store, settings: Settings, name: str, *, prune: bool, is_sure: bool) -> None:
    """Forget a source, after asking."""
    with store.reading() as session:
        found = show_source(session, name)
    what = f"and the {found.entries} entries it declares" if prune else "(what it declares stays)"
    if not is_sure:
        typer.confirm(f"Remove source {name} {what}?", abort=True)
    context = SyncContext.of(store, settings)
    with store.writing() as session:
        applied = remove_source(session, context, name, context.connector, prune=prune)
    if applied:
        print_items(applied.items)
    typer.echo(
        f"Removed source {name}." if prune else f"Removed source {name}; what it declared belongs to nobody now."
    )


def _told(output: Output, act: Callable[[], ResultT]) -> ResultT:
    """Do it; for machines, what is wrong with a catalog is JSON, too."""
    try:
        return act()
    except CatalogError as error:
        if output is not Output.JSON:
            raise
        print_json({"problems": [problem.as_json() for problem in error.problems]})
        raise typer.Exit(NOT_DONE) from None


def _added_json(added: Added) -> dict[str, object]:
    return {
        "name": added.source.name,
        "commit": added.commit,
        "added": added.applied is not None,
        "changes": added.changes,
        "paused": added.source.paused_at is not None,
        "knownHosts": added.known_hosts,
        "plan": added.plan.as_json(),
    }


def _print_source(source: SourceView, now: datetime) -> None:
    out = console()
    out.print(Text.assemble(styled(source.state), f"  {source.name}  ", (_from(source), "dim")))
    if source.error:
        for line in source.error.splitlines():
            out.print(f"  {line}", style="red")
    seen = f"{source.seen_commit} ({ago(source.seen_at, now)})" if source.seen_commit else "never"
    applied = f"{source.applied_commit} ({ago(source.applied_at, now)})" if source.applied_commit else "never"
    facts = [
        ("Applied", applied),
        ("Seen", seen),
        ("Failing", f"since {ago(source.error_since, now)}" if source.error_since else ""),
        ("Declares", f"{source.entries} entries{'' if source.prune else '; what it no longer declares stays'}"),
        ("Looked at", f"every {brief(timedelta(seconds=source.every_s))}, next {ago(source.next_sync, now)}"),
    ]
    out.print()
    _print_lines([(Text(name, "bold"), value) for name, value in facts if value])
    if source.drift:
        out.print("\nNot as the source says", style="bold yellow")
        _print_lines([(f"  {each.kind}/{each.name}", each.what, _fate(each)) for each in source.drift])
        if any(drift.is_mended for drift in source.drift):
            out.print(f"`kubeprobe source plan {source.name}` shows it field by field, `source sync` puts it right.")


def _print_lines(rows: Sequence[Sequence[Cell]]) -> None:
    for line in Columns(*[""] * len(rows[0])).lines(rows, title=False):
        console().print(line)


def _fate(drift: Drift) -> Text:
    return Text("put right when the source is applied" if drift.is_mended else "kept", "dim")


def _from(source: SourceView) -> str:
    folder = f"/{source.path}" if source.path else ""
    return f"{source.url} {source.branch}{folder}"


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        with file.expanduser().open("rb") as opened:
            found = opened.read(MAX_SECRET_BYTES + 1)
        text = found.decode()
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidInputError(f"{file}: holds no text") from None
    if len(found) > MAX_SECRET_BYTES or not text.strip():
        raise InvalidInputError(f"{file}: is {'empty' if not text.strip() else 'too large for a secret'}")
    return text
