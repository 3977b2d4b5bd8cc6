"""A declaration compared with the store, and what is wrong with it there: the same for `plan` and `apply`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import Session

from kubeprobe.catalog.changes import Action, ItemChange, StoredItem, compare, stored_items
from kubeprobe.catalog.connections import Connector, connect_all, mark_renewed, renewed_clusters
from kubeprobe.catalog.model import DOCUMENTS
from kubeprobe.catalog.ownership import Author, broken_references, ownership_conflicts, policy_problems
from kubeprobe.catalog.parse import Declaration, Entry
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.catalog.problems import CatalogError
from kubeprobe.catalog.references import check_references
from kubeprobe.fleet.credentials import Connection

CHANGES = frozenset({Action.ADDED, Action.CHANGED, Action.REMOVED})


@dataclass(frozen=True)
class ApplyRequest:
    """What is applied, by whom, within which limits."""

    declaration: Declaration
    connector: Connector
    author: Author
    policy: TemplatePolicy
    prune: bool


@dataclass(frozen=True)
class Comparison:
    """What an apply has to do."""

    request: ApplyRequest
    stored: Mapping[tuple[str, str], StoredItem]
    items: tuple[ItemChange, ...]
    renewed: Mapping[str, Connection]
    """By cluster: connections that differ from the stored ones."""

    def with_action(self, *actions: Action) -> list[ItemChange]:
        """The items with one of these actions."""
        return [item for item in self.items if item.action in actions]

    @property
    def written(self) -> list[Entry]:
        """The declared entries that are added or changed."""
        declared = self.request.declaration.entries
        return [declared[item.kind, item.name] for item in self.with_action(Action.ADDED, Action.CHANGED)]

    @property
    def changes_anything(self) -> bool:
        """Whether an entry is added, changed or removed."""
        return any(item.action in CHANGES for item in self.items)


def names_of(
    stored: Mapping[tuple[str, str], StoredItem], *, prune: bool, source: str | None
) -> dict[str, frozenset[str]]:
    """The stored names that a declaration of `source` may refer to, by kind.

    With `prune`, entries of the same owner are left out: those that are no longer declared will be removed.
    """
    names: dict[str, set[str]] = {kind: set() for kind in DOCUMENTS}
    for (kind, name), item in stored.items():
        if item.by_hand or not prune or item.source != source:
            names[kind].add(name)
    return {kind: frozenset(found) for kind, found in names.items()}


def known_names(session: Session, *, prune: bool = False, source: str | None = None) -> dict[str, frozenset[str]]:
    """`names_of` the store; for `parse`."""
    return names_of(stored_items(session), prune=prune, source=source)


def compare_with_store(session: Session, request: ApplyRequest) -> Comparison:
    """What applying a declaration would do. Raises CatalogError with every problem."""
    declaration, author = request.declaration, request.author
    connections = connect_all(declaration, request.connector)
    stored = stored_items(session)
    known = names_of(stored, prune=request.prune, source=author.source)
    names = {kind: declaration.names(kind) | known[kind] for kind in DOCUMENTS}
    if problems := check_references(declaration.references, names):  # names may have been removed since the parsing
        raise CatalogError(problems)
    renewed = renewed_clusters(session, connections, request.connector.cipher)
    items = mark_renewed(compare(stored, declaration, author.source, prune=request.prune), renewed)
    problems = ownership_conflicts(items, stored, declaration, author) + broken_references(items, stored, declaration)
    problems += policy_problems(stored, declaration, author, request.policy)
    if problems:
        raise CatalogError(problems)
    return Comparison(request, stored, tuple(items), {name: connections[name] for name in renewed})
