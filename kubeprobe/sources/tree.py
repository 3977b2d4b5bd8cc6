"""Taking the catalog's files out of a commit, into a folder that `catalog.parse` reads.

Only regular files are taken, by git's own ids: nothing is checked out, so no filter and no hook runs, and no link is
made. A link to a file within the repository stands for that file; one that leads out is refused.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kubeprobe.catalog import CatalogError, CatalogProblem, Declaration
from kubeprobe.catalog.model import ClusterSpec
from kubeprobe.sources.git import Call, GitError
from kubeprobe.sources.mirror import Mirror, offered

MAX_FILE_BYTES = 1_000_000
MAX_LINK_BYTES = 4096
"""As Linux has it, for a path."""
MAX_TOTAL_BYTES = 20_000_000
MAX_FILES = 5000
SHOWN_COMMIT = 12
_SUFFIXES = (".yaml", ".yml")
_REGULAR = {"100644", "100755"}
_LINK = "120000"


class _Item(NamedTuple):
    """An entry of a tree."""

    mode: str
    id: str
    size: int
    path: str
    """From the repository's root."""


@dataclass(frozen=True)
class Tree:
    """The folder of a source at a commit."""

    mirror: Mirror
    call: Call
    source: str
    commit: str
    path: str
    """Within the repository; empty for all of it."""

    def id(self) -> str:
        """Git's id of the folder's content. Raises GitError where there is no such folder."""
        wanted = f"{self.commit}:{self.path}" if self.path else f"{self.commit}^{{tree}}"
        try:
            found = self.mirror.git(self.call, "rev-parse", "--verify", "--quiet", wanted).decode().strip()
            kind = self.mirror.git(self.call, "cat-file", "-t", found).decode().strip()
        except GitError:
            kind = ""
        if kind != "tree":
            raise GitError(self._no_folder(kind))
        return found

    def _no_folder(self, kind: str) -> str:
        where = f"at commit {self.commit[:SHOWN_COMMIT]}"
        if kind:
            return f"{self.path!r} is a file {where}; expected a folder, such as {posixpath.dirname(self.path) or '.'}"
        listed = self.mirror.git(self.call, "ls-tree", "-r", "-d", "-z", "--name-only", "--full-tree", self.commit)
        folders = [found for found in listed.decode(errors="replace").split("\0") if found and found.isprintable()]
        folders.sort(key=lambda found: (found.count("/"), found))
        return f"there is no folder {self.path!r} {where}.{offered(self.path, folders)}"

    def shown(self, path: str) -> str:
        """How a file is called in origins and problems: SOURCE@COMMIT:PATH."""
        printable = path.encode(errors="surrogateescape").decode(errors="replace")
        return f"{self.source}@{self.commit[:SHOWN_COMMIT]}:{printable}"

    def export(self, folder: Path) -> None:
        """Write the YAML files below `folder`, under their own paths. Raises CatalogError."""
        problems: list[CatalogProblem] = []
        wanted = list(self._wanted(problems))
        if len(wanted) > MAX_FILES:
            problems.append(self._problem(self.path or ".", f"{len(wanted)} files", f"at most {MAX_FILES}"))
        total = sum(item.size for item in wanted)
        if total > MAX_TOTAL_BYTES:
            problems.append(self._problem(self.path or ".", f"{total:,} bytes", f"at most {MAX_TOTAL_BYTES:,}"))
        if problems:
            raise CatalogError(problems)
        self._write(wanted, folder)
        (folder / self.path).mkdir(parents=True, exist_ok=True)

    def take_kubeconfigs(self, declaration: Declaration, folder: Path) -> None:
        """Write the kubeconfigs that clusters name, too: files of the repository. Raises CatalogError for others."""
        problems, wanted = [], []
        for entry in declaration.entries.values():
            spec = entry.spec
            named = spec.connection.kubeconfig if isinstance(spec, ClusterSpec) else None
            if named is None:
                continue
            path = _within(posixpath.join(entry.folder.relative_to(folder).as_posix(), named.file))
            item = self._at(path) if path else None
            if item is None or item.mode not in _REGULAR or item.size > MAX_FILE_BYTES:
                file, _, line = entry.origin.rpartition(":")
                what = f"{named.file!r} is no file of this repository"
                expected = "one that is; or add the cluster with `kubeprobe cluster add`"
                place = "spec.connection.kubeconfig.file"
                problems.append(CatalogProblem(file, int(line), f"Cluster/{entry.name}", place, what, expected))
            else:
                wanted.append(item)
        if problems:
            raise CatalogError(problems)
        self._write([item for item in wanted if not (folder / item.path).exists()], folder)

    def _wanted(self, problems: list[CatalogProblem]) -> Iterator[_Item]:
        items = self._list(f"{self.commit}:{self.path}" if self.path else self.commit, self.path)
        here = {item.path for item in items}
        for found in items:
            hidden = any(part.startswith(".") for part in posixpath.relpath(found.path, self.path or ".").split("/"))
            if hidden or not found.path.endswith(_SUFFIXES):
                continue
            item = self._followed(found, problems) if found.mode == _LINK else found
            if item is None or item.mode not in _REGULAR or (item is not found and item.path in here):
                continue
            if item.size > MAX_FILE_BYTES:
                expected = f"at most {MAX_FILE_BYTES:,}"
                problems.append(self._problem(found.path, f"the file has {item.size:,} bytes", expected))
                continue
            yield item._replace(path=found.path)

    def _followed(self, link: _Item, problems: list[CatalogProblem]) -> _Item | None:
        """What a link stands for."""
        if link.size > MAX_LINK_BYTES:  # before it is read
            told = f"a link of {link.size:,} bytes"
            problems.append(self._problem(link.path, told, f"a file, or a link of at most {MAX_LINK_BYTES:,} bytes"))
            return None
        target = self.mirror.git(self.call, "cat-file", "blob", link.id).decode(errors="replace")
        path = _within(posixpath.join(posixpath.dirname(link.path), target))
        if path is None:
            problems.append(self._problem(link.path, "a link that leads out of the repository", "a file"))
            return None
        item = self._at(path)
        if item is None or item.mode not in _REGULAR:
            problems.append(self._problem(link.path, f"a link to {target!r}, which is no file", "a file"))
            return None
        return item

    def _at(self, path: str) -> _Item | None:
        """The entry at one path, not followed."""
        return next((item for item in self._list(self.commit, "", path) if item.path == path), None)

    def _list(self, tree: str, below: str, *only: str) -> Sequence[_Item]:
        recursive = () if only else ("-r",)
        listed = self.mirror.git(self.call, "ls-tree", *recursive, "-z", "-l", "--full-tree", tree, "--", *only)
        return [_item(line, below) for line in listed.decode(errors="surrogateescape").split("\0") if line]

    def _write(self, items: Sequence[_Item], folder: Path) -> None:
        """All contents by one call of git."""
        if not items:
            return
        asked = "".join(f"{item.id}\n" for item in items).encode()
        answer = memoryview(self.mirror.git(self.call, "cat-file", "--batch", typed=asked))
        at = 0
        for item in items:
            at += len(f"{item.id} blob {item.size}\n")
            file = folder / item.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(answer[at : at + item.size])
            at += item.size + 1

    def _problem(self, path: str, message: str, expected: str) -> CatalogProblem:
        return CatalogProblem(self.shown(path), 1, "", "", message, expected=expected)


def _item(line: str, below: str) -> _Item:
    meta, _, path = line.partition("\t")
    mode, _, identity, size = meta.split()
    return _Item(mode, identity, 0 if size == "-" else int(size), posixpath.join(below, path))


def _within(path: str) -> str | None:
    """A path made plain, if it stays within the repository."""
    plain = posixpath.normpath(path)
    leads_out = plain.startswith(("/", "~", "../")) or plain == ".."
    return None if leads_out else plain
