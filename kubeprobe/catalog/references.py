"""Which names a document refers to, and whether they exist."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kubeprobe.catalog.problems import CatalogProblem, nearest_name, one_of
from kubeprobe.catalog.yamlfile import RawDocument, YamlPath, show_path

EACH = "*"
"""In a place: every item of a list."""
_PLACES: Mapping[str, tuple[tuple[tuple[str, ...], str], ...]] = MappingProxyType(
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
    """A name that a document gives, and where."""

    file: str
    line: int
    document: str
    path: str
    kind: str
    """Kind of what is referred to."""
    name: str


def references_in(raw: RawDocument, kind: str, name: str) -> Iterator[Reference]:
    """The references of a YAML document, be the rest of it valid or not."""
    for place, wanted in _PLACES.get(kind, ()):
        for path, found in _values(raw.value, place):
            yield Reference(raw.file, raw.line_of(path), f"{kind}/{name}", show_path(path), wanted, found)


def references_to(kind: str, value: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """The path, and the kind and name, of each reference in a document of plain values."""
    for place, wanted in _PLACES.get(kind, ()):
        for path, found in _values(value, place):
            yield show_path(path), (wanted, found)


def check_references(references: Iterable[Reference], names: Mapping[str, AbstractSet[str]]) -> list[CatalogProblem]:
    """A problem for each reference to a name that is not among the names of its kind."""
    problems = []
    for found in references:
        valid = names.get(found.kind, frozenset())
        if found.name in valid:
            continue
        problems.append(
            CatalogProblem(
                found.file,
                found.line,
                found.document,
                found.path,
                f"there is no {found.kind} {found.name!r}",
                expected=one_of(sorted(valid)) if valid else f"a {found.kind}; there is none yet",
                nearest=nearest_name(found.name, valid),
            )
        )
    return problems


def _values(value: Any, place: tuple[str, ...], path: YamlPath = ()) -> Iterator[tuple[YamlPath, str]]:
    """The strings at a place, with their paths."""
    if not place:
        if isinstance(value, str):
            yield path, value
        return
    if place[0] == EACH:
        items: Iterable[tuple[str | int, Any]] = enumerate(value) if isinstance(value, list | tuple) else ()
    else:
        items = [(place[0], value[place[0]])] if isinstance(value, dict) and place[0] in value else []
    for part, item in items:
        yield from _values(item, place[1:], (*path, part))
