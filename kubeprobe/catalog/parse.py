"""From YAML files to a declaration: validates every document and reference, and reports all problems at once.

Next: `plan` compares a declaration with the store, `apply` writes it.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from kubeprobe.catalog.explain import explain, quote_as_written
from kubeprobe.catalog.model import DOCUMENTS, KUBERNETES_FIELDS, ProbeTemplateSpec, Spec
from kubeprobe.catalog.podspec import check_pod
from kubeprobe.catalog.policy import environments_of, loader_variables
from kubeprobe.catalog.problems import CatalogError, CatalogProblem, nearest_name, one_of, shorten
from kubeprobe.catalog.references import Reference, check_references, references_in
from kubeprobe.catalog.render import merged_pod_spec
from kubeprobe.catalog.yamlfile import MAX_FILE_BYTES, RawDocument, read_documents, read_text, show_path
from kubeprobe.vocabulary import API_VERSION

MAX_PROBLEMS = 1000
"""Then the rest is not checked."""
_MAX_POD_PROBLEMS = 100
"""Of one template's `pod`; the rest is not checked."""
_SUFFIXES = {".yaml", ".yml"}
_NAME_LINE = re.compile(r"^[ \t]+name:[ \t]*[\"']?([a-z0-9-]+)", re.MULTILINE)
SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class Entry:
    """One valid document."""

    kind: str
    name: str
    spec: Spec
    origin: str
    """File and line."""
    folder: Path
    """Base of relative paths in it."""


@dataclass(frozen=True)
class Declaration:
    """Valid documents by kind and name. `references` are checked again when they are applied."""

    entries: Mapping[tuple[str, str], Entry]
    references: tuple[Reference, ...] = ()

    def names(self, kind: str) -> frozenset[str]:
        """The names of a kind."""
        return frozenset(name for found, name in self.entries if found == kind)

    def specs(self, kind: str, model: type[SpecT]) -> dict[str, SpecT]:
        """The specs of a kind by name."""
        return {
            name: entry.spec
            for (found, name), entry in self.entries.items()
            if found == kind and isinstance(entry.spec, model)
        }


@dataclass
class _ParseState:
    """What has been read so far."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    problems: list[CatalogProblem] = field(default_factory=list)
    seen: dict[tuple[str, str], str] = field(default_factory=dict)
    """Origin of each name's first document, valid or not."""
    unreadable: set[str] = field(default_factory=set)
    """Names in files that are not valid YAML: a reference to one of them is not reported as well."""


def parse(
    paths: Iterable[Path],
    known: Mapping[str, frozenset[str]] | None = None,
    shown: Callable[[Path], str] = str,
) -> Declaration:
    """Read files and folders (recursively, *.yaml and *.yml) into a declaration.

    `known` are existing names by kind that may be referred to (`apply.known_names`). `shown` returns the name of a file
    for origins and problems. Raises CatalogError with every problem.
    """
    state = _ParseState()
    for file, name in _files(paths, shown, state):
        for found in read_documents(file, name, KUBERNETES_FIELDS):
            if isinstance(found, CatalogProblem):
                state.problems.append(found)
                state.unreadable |= _names_in(file)
            else:
                _add_document(found, state)
            if len(state.problems) > MAX_PROBLEMS:
                message = f"more than {MAX_PROBLEMS:,} problems; what follows was not checked"
                raise CatalogError([*state.problems, CatalogProblem(name, 1, "", "", message, "fewer")])
    names = {kind: {name for found, name in state.seen if found == kind} for kind in DOCUMENTS}
    valid = {kind: names[kind] | state.unreadable | (known or {}).get(kind, frozenset()) for kind in DOCUMENTS}
    state.problems += check_references(state.references, valid)
    if state.problems:
        raise CatalogError(state.problems)
    return Declaration(state.entries, tuple(state.references))


def _names_in(file: Path) -> set[str]:
    """What may be names of documents in a file that is not valid YAML."""
    try:
        return set(_NAME_LINE.findall(read_text(file)))
    except (OSError, ValueError):
        return set()


def _files(paths: Iterable[Path], shown: Callable[[Path], str], state: _ParseState) -> Iterator[tuple[Path, str]]:
    """Every file once, in a stable order, without hidden folders such as .git; with its name for problems."""
    done: set[Path] = set()
    total = 0
    for path in paths:
        existing = [path] if path.exists() else []
        found = _list_yaml(path, state) if path.is_dir() else existing
        if not found:
            message = "there is no *.yaml or *.yml file in this folder" if path.is_dir() else "no such file or folder"
            expected = "a YAML file, or a folder of YAML files"
            state.problems.append(CatalogProblem(_printable(str(path)), 1, "", "", message, expected=expected))
        for file in found:
            if (real := file.resolve()) in done:
                continue
            done.add(real)
            name = _printable(shown(file))
            total += file.stat().st_size
            if total > MAX_FILE_BYTES:
                message = f"the files up to this one have {total:,} bytes"
                raise CatalogError([CatalogProblem(name, 1, "", "", message, f"at most {MAX_FILE_BYTES:,}")])
            yield file, name


def _list_yaml(folder: Path, state: _ParseState) -> list[Path]:
    """The YAML files of a folder and those below it, sorted; links are followed, each folder once."""
    found: list[Path] = []
    walked: set[Path] = set()
    waiting, links = [folder], deque[Path]()
    while waiting or links:
        here = waiting.pop() if waiting else links.popleft()  # under its own path, if a link leads to it too
        if (real := here.resolve()) in walked:
            continue
        walked.add(real)
        try:
            entries = sorted(here.iterdir())
        except OSError as error:
            message = f"the folder cannot be read: {error.strerror}"
            expected = "a folder that this user may read"
            state.problems.append(CatalogProblem(_printable(str(here)), 1, "", "", message, expected=expected))
            continue
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [entry for entry in shown if entry.is_dir()]
        waiting += [entry for entry in folders if not entry.is_symlink()]
        links += [entry for entry in folders if entry.is_symlink()]
        found += [entry for entry in shown if entry.suffix in _SUFFIXES and entry.is_file()]
        state.problems += [_broken_link(entry) for entry in shown if entry.is_symlink() and not entry.exists()]
    return sorted(found)


def _broken_link(link: Path) -> CatalogProblem:
    message = "a link to a file or folder that does not exist"
    return CatalogProblem(_printable(str(link)), 1, "", "", message, expected="a link to a file or folder, or none")


def _printable(name: str) -> str:
    """A file's name as text that can be stored: bytes that are not UTF-8 become U+FFFD."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _add_document(raw: RawDocument, state: _ParseState) -> None:
    """Validate one document and add it, or its problems."""
    identity = _identify(raw, state)
    if identity is None:
        return
    kind, name = identity
    document = f"{kind}/{shorten(name)}" if name else kind
    problems = [_in_document(problem, document) for problem in raw.problems]
    if name:
        origin = f"{raw.file}:{raw.line}"
        if identity in state.seen:
            line = raw.line_of(("metadata", "name"))
            message = f"declared twice, first at {state.seen[identity]}"
            expected = f"one {kind} of each name"
            problems.append(CatalogProblem(raw.file, line, document, "metadata.name", message, expected=expected))
        state.seen.setdefault(identity, origin)
        state.references += references_in(raw, kind, name)
    try:
        model = DOCUMENTS[kind].model_validate(raw.value)
    except ValidationError as error:
        problems += explain(error, DOCUMENTS[kind], raw, document)
    else:
        spec: Spec = model.spec  # type: ignore[attr-defined]  # each kind has its own
        pod_problems = list(_check_pod(spec, raw, document)) if isinstance(spec, ProbeTemplateSpec) else []
        problems += pod_problems or _check_variables(spec, raw, document)
        state.entries.setdefault(identity, Entry(kind, name, spec, f"{raw.file}:{raw.line}", raw.folder))
    state.problems += problems


def _check_pod(template: ProbeTemplateSpec, raw: RawDocument, document: str) -> Iterator[CatalogProblem]:
    found_problems = check_pod(template.pod, merged_pod_spec(template), template.extra_pod_fields)
    for found in islice(found_problems, _MAX_POD_PROBLEMS):  # each costs a search of names
        path = ("spec", "pod", *found.path)
        line, expected = raw.line_of(path), quote_as_written(found.expected, raw, path)
        yield CatalogProblem(raw.file, line, document, show_path(path), found.message, expected, found.nearest)


def _check_variables(spec: Spec, raw: RawDocument, document: str) -> Iterator[CatalogProblem]:
    for where, names in environments_of(spec):
        for name in loader_variables(names):
            path = ("spec", *where, name)
            message = f"{name} makes a program load other code, and cannot be set"
            expected = "another variable; set this one in the image"
            yield CatalogProblem(raw.file, raw.line_of(path), document, show_path(path), message, expected)


def _identify(raw: RawDocument, state: _ParseState) -> tuple[str, str] | None:
    """Kind and name of a document (name empty if it has none); None if it is not of a known kind."""

    def problem(path: str, message: str, expected: str, near: str = "") -> None:
        line = raw.line_of((path,)) if path else raw.line
        state.problems.append(CatalogProblem(raw.file, line, "", path, message, expected, near))

    if not isinstance(raw.value, dict):
        problem("", "this document is not a mapping", f"apiVersion: {API_VERSION}, kind, metadata and spec")
        return None
    kind = raw.value.get("kind")
    if not isinstance(kind, str) or kind not in DOCUMENTS:
        shown = "kind is missing" if kind is None else f"{kind!r} is not a kind of {API_VERSION}"
        problem("kind", shown, one_of(list(DOCUMENTS)), nearest_name(kind, DOCUMENTS) if kind else "")
        if raw.value.get("apiVersion") != API_VERSION:
            version = raw.value.get("apiVersion")
            problem("apiVersion", f"{version!r} is not supported" if version else "apiVersion is missing", API_VERSION)
        state.problems += raw.problems
        return None
    return kind, _name_of(raw.value)


def _name_of(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _in_document(problem: CatalogProblem, document: str) -> CatalogProblem:
    return CatalogProblem(problem.file, problem.line, document, problem.path, problem.message, problem.expected)
