"""Owners of catalog entries: an entry belongs to the source that declares it, or to no source.

An entry that a person applied belongs to no source, and a source that declares it takes it over only if it may. An
entry of a source is changed and removed by that source only. A person may override it; it then differs from its source
(drift) until that source is applied again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeprobe.catalog.changes import Action, ItemChange, StoredItem
from kubeprobe.catalog.model import ProbeTemplateSpec
from kubeprobe.catalog.parse import Declaration
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.catalog.problems import CatalogProblem
from kubeprobe.catalog.references import references_to
from kubeprobe.catalog.render import merged_pod_spec


@dataclass(frozen=True)
class Author:
    """Who applies a declaration: a source at a commit, or a person (both None)."""

    source: str | None = None
    commit_id: str | None = None
    overrides: bool = False
    """The person may change entries of a source (`--override`)."""
    takes_over: bool = False
    """The source may take over entries of no source (`--allow take-over`)."""

    def owner_of(self, stored: str | None) -> str | None:
        """The owner after this author wrote an entry whose stored owner is `stored`: an override does not change it."""
        return self.source or stored


BY_HAND = Author()


def ownership_conflicts(
    items: Iterable[ItemChange], stored: Mapping[tuple[str, str], StoredItem], declaration: Declaration, author: Author
) -> list[CatalogProblem]:
    """A problem for each entry that belongs to another owner and that this author may not change."""
    changed = {(item.kind, item.name) for item in items if item.action is Action.CHANGED}
    problems = []
    for (kind, name), entry in declaration.entries.items():
        found = stored.get((kind, name))
        if found is None or found.source == author.source:
            continue
        if author.source is None and (author.overrides or (kind, name) not in changed):
            continue
        if found.source is None and author.takes_over:
            continue
        message, expected = _conflict(found, author)
        file, _, line = entry.origin.rpartition(":")
        problems.append(CatalogProblem(file, int(line), f"{kind}/{name}", "", message, expected=expected))
    return problems


def _conflict(found: StoredItem, author: Author) -> tuple[str, str]:
    """Whose entry it is, and what to do."""
    owner = "no source" if found.source is None else f"source {found.source}"
    message = f"this entry belongs to {owner}" + (f" ({found.origin})" if found.origin else "")
    if author.source is None:
        override = f"--override, which lasts until {found.source} is applied"
        return message, f"a change in that source's repository, or {override}"
    message += f", and source {author.source} declares it too"
    if found.source is not None:
        return message, "one owner: remove it from one of the two sources"
    return message, "another name; or, if its repository is trusted with it, the source with --allow take-over"


def broken_references(
    items: Iterable[ItemChange], stored: Mapping[tuple[str, str], StoredItem], declaration: Declaration
) -> list[CatalogProblem]:
    """A problem for each remaining entry, of any owner, that refers to a removed one."""
    removed = {(item.kind, item.name): item for item in items if item.action is Action.REMOVED}
    problems = []
    for (kind, name), found in stored.items() if removed else ():
        if (kind, name) in removed or (kind, name) in declaration.entries:
            continue
        for path, wanted in references_to(kind, {"spec": found.spec}):
            if wanted in removed:
                file, _, line = (found.origin or "catalog:1").rpartition(":")
                owner = f"source {found.source}" if found.source else "no source"
                message = f"this entry ({owner}) remains, but refers to {'/'.join(wanted)}, which is removed"
                expected = "both removed, or neither"
                document = f"{kind}/{name}"
                problems.append(CatalogProblem(file, int(line), document, path, message, expected=expected))
    return problems


def policy_problems(
    stored: Mapping[tuple[str, str], StoredItem], declaration: Declaration, author: Author, policy: TemplatePolicy
) -> list[CatalogProblem]:
    """A problem for each declared template that the installation's policy does not allow."""
    problems = []
    for (kind, name), entry in declaration.entries.items():
        if not isinstance(entry.spec, ProbeTemplateSpec):
            continue
        found = stored.get((kind, name))
        owner = author.owner_of(found.source if found else None)
        file, _, line = entry.origin.rpartition(":")
        for refusal in policy.refusals(name, owner, merged_pod_spec(entry.spec), entry.spec.annotations):
            message, _, expected = refusal.partition(": ")
            where = CatalogProblem(file, int(line), f"{kind}/{name}", "spec", f"{message} is not allowed", expected)
            problems.append(where)
    return problems
