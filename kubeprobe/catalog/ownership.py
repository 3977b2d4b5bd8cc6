"""Who owns what of the catalog: an entry belongs to the source that declares it, or to nobody.

What a person applied belongs to nobody, and a source that declares it takes it over. What a source owns is changed and
removed by that source alone. A person may override it, which makes it drift until that source is applied again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeprobe.catalog.changes import Action, ItemChange, Stored
from kubeprobe.catalog.parse import Declaration
from kubeprobe.catalog.problems import CatalogProblem
from kubeprobe.catalog.references import references_to


@dataclass(frozen=True)
class Author:
    """Whose declaration is applied: that of a source at a commit, or (neither) a person's."""

    source: str | None = None
    commit_id: str | None = None
    overrides: bool = False
    """A person may change what belongs to a source."""

    def owner_of(self, stored: str | None) -> str | None:
        """The owner of what this author writes over something of a stored owner: overriding takes nothing away."""
        return self.source or stored


BY_HAND = Author()


def conflicts(
    items: Iterable[ItemChange], stored: Mapping[tuple[str, str], Stored], declaration: Declaration, author: Author
) -> list[CatalogProblem]:
    """A problem for each entry that belongs to a source, and that is not this author's to change."""
    changed = {(item.kind, item.name) for item in items if item.action is Action.CHANGED}
    problems = []
    for (kind, name), entry in declaration.entries.items():
        found = stored.get((kind, name))
        if found is None or found.source is None or found.source == author.source:
            continue
        if author.source is None and (author.overrides or (kind, name) not in changed):
            continue
        where = f" ({found.origin})" if found.origin else ""
        expected = f"the change in that source's repository; --override makes it here, until {found.source} is applied"
        message = f"it belongs to source {found.source}{where}"
        if author.source is not None:
            message += f", and source {author.source} declares it too"
            expected = "one owner: take it out of one of the two"
        file, _, line = entry.origin.rpartition(":")
        problems.append(CatalogProblem(file, int(line), f"{kind}/{name}", "", message, expected=expected))
    return problems


def orphans(
    items: Iterable[ItemChange], stored: Mapping[tuple[str, str], Stored], declaration: Declaration
) -> list[CatalogProblem]:
    """A problem for each entry that stays, of whatever owner, and refers to what is removed."""
    removed = {(item.kind, item.name): item for item in items if item.action is Action.REMOVED}
    problems = []
    for (kind, name), found in stored.items() if removed else ():
        if (kind, name) in removed or (kind, name) in declaration.entries:
            continue
        for path, wanted in references_to(kind, {"spec": found.spec}):
            if wanted in removed:
                file, _, line = (found.origin or "catalog:1").rpartition(":")
                owner = f"source {found.source}" if found.source else "nobody's"
                message = f"this entry ({owner}) stays, and {'/'.join(wanted)}, which it refers to, is removed"
                expected = "to remove both, or none"
                document = f"{kind}/{name}"
                problems.append(CatalogProblem(file, int(line), document, path, message, expected=expected))
    return problems
