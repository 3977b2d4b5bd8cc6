"""The names that documents refer to, and whether they exist."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kubeprobe.catalog.problems import CatalogProblem, nearest_name, one_of, shorten
from kubeprobe.catalog.yamlfile import RawDocument, YamlPath, show_path

EACH = "*"
"""In a path: every item of a list."""
_REFERENCE_PATHS: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = MappingProxyType(
    {
        "ProbeCase": ((("spec", "template"), "ProbeTemplate"),),
        "RenderConfig": (
            (("spec", "for"), "ProbeCase"),
            (("spec", "overrides", EACH, "cluster"), "Cluster"),
        ),
        "Binding": (
            (("spec", "cases", EACH), "ProbeCase"),
            (("spec", "clusters", "names", EACH), "Cluster"),
            (("spec", "renderConfig"), "RenderConfig"),
        ),
        "AlertRoute": ((("spec", "match", "cases", EACH), "ProbeCase"),),
    }
)


@dataclass(frozen=True)
class Reference:
    """A name that a document refers to, with its location."""

    file: str
    line: int
    document: str
    path: str
    kind: str
    """Kind of the entry that is referred to."""
    name: str


SUGGESTED = 20
SEARCHED = 5000
MAX_PROBLEMS = 1000
"""Then the remaining references are not checked."""


def references_in(raw: RawDocument, kind: str, name: str) -> Iterator[Reference]:
    """The references of a YAML document, whether the rest of it is valid or not."""
    document = f"{kind}/{shorten(name)}"
    for pattern, wanted in _REFERENCE_PATHS.get(kind, ()):
        for path, found in _values(raw.value, pattern):
            yield Reference(raw.file, raw.line_of(path), document, show_path(path), wanted, found)


def references_to(kind: str, value: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """The path of each reference in a document of plain values, with the kind and name that it refers to."""
    for pattern, wanted in _REFERENCE_PATHS.get(kind, ()):
        for path, found in _values(value, pattern):
            yield show_path(path), (wanted, found)


def check_references(references: Iterable[Reference], names: Mapping[str, AbstractSet[str]]) -> list[CatalogProblem]:
    """A problem for each reference whose name is not in `names`.

    Similar names are searched for the first few unknown names only: each search compares with all names of the kind.
    """
    problems: list[CatalogProblem] = []
    expected = {kind: one_of(sorted(valid)) if valid else f"a {kind}; none exists yet" for kind, valid in names.items()}
    nearest: dict[tuple[str, str], str] = {}
    for found in references:
        valid = names.get(found.kind, frozenset())
        if found.name in valid:
            continue
        if len(problems) == MAX_PROBLEMS:
            message = f"more than {MAX_PROBLEMS:,} unknown names; what follows was not checked"
            problems.append(CatalogProblem(found.file, found.line, found.document, found.path, message, "fewer"))
            break
        key = (found.kind, found.name)
        if key not in nearest and len(nearest) < SUGGESTED and len(valid) <= SEARCHED:
            nearest[key] = nearest_name(found.name, valid)
        problems.append(
            CatalogProblem(
                found.file,
                found.line,
                found.document,
                found.path,
                f"there is no {found.kind} {shorten(repr(found.name))}",
                expected=expected.get(found.kind, f"a {found.kind}; none exists yet"),
                nearest=nearest.get(key, ""),
            )
        )
    return problems


def _values(value: Any, pattern: tuple[str, ...], path: YamlPath = ()) -> Iterator[tuple[YamlPath, str]]:
    """The strings at the paths that match a pattern, with their paths."""
    if not pattern:
        if isinstance(value, str):
            yield path, value
        return
    if pattern[0] == EACH:
        items: Iterable[tuple[str | int, Any]] = enumerate(value) if isinstance(value, list | tuple) else ()
    else:
        items = [(pattern[0], value[pattern[0]])] if isinstance(value, dict) and pattern[0] in value else []
    for part, item in items:
        yield from _values(item, pattern[1:], (*path, part))
