"""Sources as text: what adding and syncing did, where each stands, and what was changed by hand since."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.text import Text

from kubeprobe.cli.catalog_text import print_items, print_plan
from kubeprobe.cli.output import Cell, Columns, ago, brief, console, remark, styled
from kubeprobe.sources import AddResult, Drift, SyncResult
from kubeprobe.views import SourceView

SHOWN_COMMIT = 12


def print_added(added: AddResult, *, dry_run: bool) -> None:
    """What adding a source did, or would do."""
    print_plan(added.plan)
    if added.known_hosts:
        remark("Host key accepted on first use, and checked from now on (--known-hosts names it beforehand):", "yellow")
        remark(added.known_hosts.strip(), "yellow")
    out, source, commit = console(), added.source, added.commit[:SHOWN_COMMIT]
    if added.changes is not None:
        out.print(
            f"Changes of source {source.name} itself:"
            if added.changes
            else f"Source {source.name} itself is unchanged."
        )
    for change in added.changes or ():
        out.print(f"  {change}", markup=False)
    often = f"synced every {brief(timedelta(seconds=source.every_s))}"
    if source.paused_at is not None:
        often = f"still paused: `kubeprobe source resume {source.name}` continues"
    done = "Added" if added.changes is None else "Changed"
    if dry_run:
        out.print(f"{source.branch} is at {commit}; nothing was changed.", style="bold")
    else:
        out.print(f"{done} source {source.name}, applied at {commit}; {often}.", style="bold")


def added_json(added: AddResult) -> dict[str, object]:
    """The same for programs."""
    return {
        "name": added.source.name,
        "commit": added.commit,
        "added": added.applied is not None,
        "changes": added.changes,
        "paused": added.source.paused_at is not None,
        "knownHosts": added.known_hosts,
        "plan": added.plan,
    }


def print_sources(sources: Sequence[SourceView], now: datetime) -> None:
    """A line for each source."""
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
        for source in sources
    )


def print_synced(name: str, synced: SyncResult) -> None:
    """What a sync did."""
    if synced.is_claim_lost:
        remark(f"Another process is syncing {name}, or has removed it; nothing was changed here.", "yellow")
        remark(f"`kubeprobe source show {name}` shows the result.", "yellow")
    elif synced.error:
        remark(synced.error, "red")
        remark("Not applied; the catalog is unchanged.", "red")
    elif synced.applied:
        print_items(synced.applied.items)
        done = "applied" if synced.applied.changed_anything else "nothing to change"
        console().print(f"{name} is at {(synced.commit or '')[:SHOWN_COMMIT]}: {done}.")


def synced_json(name: str, synced: SyncResult) -> dict[str, object]:
    """The same for programs."""
    return {
        "source": name,
        "commit": synced.commit,
        "error": synced.error,
        "applied": synced.applied,
        "lost": synced.is_claim_lost,
    }


def print_source(source: SourceView, now: datetime) -> None:
    """Everything about one source."""
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
        ("Allowed", ", ".join(source.allow)),
        ("Synced", f"every {brief(timedelta(seconds=source.every_s))}, next {ago(source.next_sync, now)}"),
    ]
    out.print()
    _print_lines([(Text(name, "bold"), value) for name, value in facts if value])
    if source.drift:
        out.print("\nDrift", style="bold yellow")
        _print_lines([(f"  {each.kind}/{each.name}", each.what, _fate(each)) for each in source.drift])
        if any(drift.is_fixed_by_sync for drift in source.drift):
            out.print(f"`kubeprobe source plan {source.name}` shows it field by field, `source sync` corrects it.")


def _print_lines(rows: Sequence[Sequence[Cell]]) -> None:
    for line in Columns(*[""] * len(rows[0])).lines(rows, title=False):
        console().print(line)


def _fate(drift: Drift) -> Text:
    return Text("corrected when the source is applied" if drift.is_fixed_by_sync else "kept", "dim")


def _from(source: SourceView) -> str:
    folder = f"/{source.path}" if source.path else ""
    return f"{source.url} {source.branch}{folder}"
