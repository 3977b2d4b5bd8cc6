"""Sources of the catalog: add, sync, pause, remove. What is fetched from Git is applied in one transaction."""

from dataclasses import dataclass, field

from kubeprobe import sources
from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import Transaction, transaction, use_case
from kubeprobe.catalog import ApplyResult, Plan
from kubeprobe.effects import Effects
from kubeprobe.sources import AddResult, Secret, SourceSpec, SyncResult
from kubeprobe.store import Source


@dataclass(frozen=True)
class SourceWebhook:
    """What the receiver of a push needs to know of its source."""

    branch: str
    secret: str = field(repr=False)


@use_case(Permission.CATALOG)
def add_source(
    installation: Installation, spec: SourceSpec, *, replace: bool = False, dry_run: bool = False
) -> AddResult:
    """Fetch a source, apply what it declares, and keep it: all or nothing. Raises as `sources.add_source`."""
    return sources.add_source(installation.sync_context, spec, replace=replace, dry_run=dry_run)


@use_case(Permission.READ)
def plan_source(installation: Installation, name: str) -> Plan:
    """What applying a source's newest commit would change. Raises NotFoundError, GitError and CatalogError."""
    return sources.plan_source(installation.sync_context, installation.query(sources.get_source, name))


@use_case(Permission.CATALOG)
def sync_source(installation: Installation, name: str) -> SyncResult:
    """Fetch and apply a source now, over what was changed by hand. Raises NotFoundError."""
    installation.query(sources.get_source, name)
    return sources.sync_now(installation.sync_context, name)


@transaction(Permission.OPERATE)
def pause_source(tx: Transaction, name: str) -> None:
    """Stop syncing a source; what it declared stays in force."""
    sources.set_paused(tx.session, name, tx.now, tx.now)


@transaction(Permission.OPERATE)
def resume_source(tx: Transaction, name: str) -> None:
    """Sync a paused source again, within seconds."""
    sources.set_paused(tx.session, name, None, tx.now)


@use_case(Permission.OPERATE)
def find_webhook(installation: Installation, name: str) -> SourceWebhook:
    """The branch that a source follows, and the secret that pushes are signed with; both empty without such a source.

    Raises SecretKeyError.
    """
    row = installation.query(lambda session: session.get(Source, name))
    return SourceWebhook(
        row.branch if row else "", Secret.open(installation.cipher, row.secret if row else None).webhook
    )


@transaction(Permission.OPERATE)
def request_sync(tx: Transaction, name: str) -> bool:
    """Have a worker sync a source as soon as possible; False where it is paused or does not exist."""
    is_due = sources.request_sync(tx.session, name, tx.now)
    tx.effects += Effects(sync_sources=is_due)
    return is_due


@transaction(Permission.CATALOG)
def remove_source(tx: Transaction, name: str, *, prune: bool = False) -> ApplyResult | None:
    """Remove a source; with `prune`, also what it declares. Raises as `sources.remove_source`."""
    context = tx.installation.sync_context
    return sources.remove_source(tx.session, context, name, context.connector, prune=prune)
