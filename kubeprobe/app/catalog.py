"""Plan and apply YAML, pause and resume bindings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import Transaction, transaction, use_case
from kubeprobe.catalog import ApplyResult, Author, Declaration, Plan, known_names, make_plan, parse, prepare_connections
from kubeprobe.catalog import apply as apply_declaration
from kubeprobe.catalog import pause as pause_schedules
from kubeprobe.catalog import resume as resume_schedules
from kubeprobe.catalog.builtin import built_in_files, with_image
from kubeprobe.catalog.policy import TemplatePolicy


@dataclass(frozen=True)
class CatalogFiles:
    """Where a declaration comes from: files, the built-in probes, or both."""

    files: tuple[Path, ...]
    built_in: bool = False
    with_bindings: bool = True
    """With `built_in`: whether its bindings are included."""
    image: str = ""
    """Of the built-in probes; empty: the one in their templates."""
    override: bool = False
    """Whether entries that a source owns may be changed."""

    @property
    def author(self) -> Author:
        """The person who applies it."""
        return Author(overrides=self.override)

    def parse(self, known: Mapping[str, frozenset[str]]) -> Declaration:
        """The declaration. Raises CatalogError with all problems."""
        built_in = built_in_files(bindings=self.with_bindings) if self.built_in else []
        declared = parse([*built_in, *self.files], known)
        return with_image(declared, self.image) if self.image else declared


@use_case(Permission.READ)
def plan_catalog(installation: Installation, files: CatalogFiles, *, prune: bool = False) -> Plan:
    """What `apply_catalog` would do. Raises CatalogError."""
    declaration = files.parse(installation.query(known_names, prune=prune))
    connector = prepare_connections(declaration, installation.connector)
    now, policy = installation.clock(), TemplatePolicy.of(installation.settings)
    return installation.query(make_plan, declaration, connector, now, prune=prune, author=files.author, policy=policy)


@use_case(Permission.CATALOG)
def apply_catalog(installation: Installation, files: CatalogFiles, *, prune: bool = False) -> ApplyResult:
    """Make the catalog what the files declare; with `prune`, remove the rest. Raises CatalogError, nothing changed.

    Files and kubeconfigs are read before the transaction, which checks references again: reading may take long.
    """
    declaration = files.parse(installation.query(known_names, prune=prune))
    connector = prepare_connections(declaration, installation.connector)
    now, policy = installation.clock(), TemplatePolicy.of(installation.settings)
    with installation.store.writing() as session:
        return apply_declaration(session, declaration, connector, now, prune=prune, author=files.author, policy=policy)


@transaction(Permission.OPERATE)
def pause_binding(tx: Transaction, binding: str, cluster: str | None = None) -> int:
    """Open no more periodic runs of a binding, everywhere or on one cluster; gives how many schedules stopped."""
    return pause_schedules(tx.session, binding, cluster, now=tx.now)


@transaction(Permission.OPERATE)
def resume_binding(tx: Transaction, binding: str, cluster: str | None = None) -> int:
    """Resume with the next slot; gives how many schedules resumed."""
    return resume_schedules(tx.session, binding, cluster, now=tx.now)
