"""Exporting the catalog's files of a commit to a folder that `catalog.parse` reads.

Files are read by object id: `git checkout` is not used, so no filter or hook runs, and no link is created. A symbolic
link to a file of the repository is replaced by that file; one that leads out of the repository is an error.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kubeprobe.catalog import CatalogError, CatalogProblem, Declaration
from kubeprobe.catalog.model import ClusterSpec
from kubeprobe.sources.git import GitError, GitRunner
from kubeprobe.sources.mirror import Mirror, list_known

MAX_FILE_BYTES = 1_000_000
MAX_LINK_BYTES = 4096
"""Linux's limit for a path."""
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
    runner: GitRunner
    source: str
    commit: str
    path: str
    """Path in the repository; empty for its root."""

    def id(self) -> str:
        """Git's object id of the folder. Raises GitError if there is no such folder."""
        wanted = f"{self.commit}:{self.path}" if self.path else f"{self.commit}^{{tree}}"
        try:
            found = self.mirror.git(self.runner, "rev-parse", "--verify", "--quiet", wanted).decode().strip()
            kind = self.mirror.git(self.runner, "cat-file", "-t", found).decode().strip()
        except GitError:
            kind = ""
        if kind != "tree":
            raise GitError(self._no_such_folder(kind))
        return found

    def _no_such_folder(self, kind: str) -> str:
        where = f"at commit {self.commit[:SHOWN_COMMIT]}"
        if kind:
            return f"{self.path!r} is a file {where}; expected a folder, such as {posixpath.dirname(self.path) or '.'}"
        listed = self.mirror.git(self.runner, "ls-tree", "-r", "-d", "-z", "--name-only", "--full-tree", self.commit)
        folders = [found for found in listed.decode(errors="replace").split("\0") if found and found.isprintable()]
        folders.sort(key=lambda found: (found.count("/"), found))
        return f"there is no folder {self.path!r} {where}.{list_known(self.path, folders)}"

    def shown(self, path: str) -> str:
        """The name of a file in origins and problems: SOURCE@COMMIT:PATH."""
        printable = path.encode(errors="surrogateescape").decode(errors="replace")
        return f"{self.source}@{self.commit[:SHOWN_COMMIT]}:{printable}"

    def export(self, folder: Path) -> None:
        """Write the YAML files to `folder`, under their paths in the repository. Raises CatalogError."""
        problems: list[CatalogProblem] = []
        files = list(self._yaml_files(problems))
        if len(files) > MAX_FILES:
            problems.append(self._problem(self.path or ".", f"{len(files)} files", f"at most {MAX_FILES}"))
        total = sum(item.size for item in files)
        if total > MAX_TOTAL_BYTES:
            problems.append(self._problem(self.path or ".", f"{total:,} bytes", f"at most {MAX_TOTAL_BYTES:,}"))
        if problems:
            raise CatalogError(problems)
        self._write(files, folder)
        (folder / self.path).mkdir(parents=True, exist_ok=True)

    def export_kubeconfigs(self, declaration: Declaration, folder: Path) -> None:
        """Write the kubeconfigs that clusters refer to. Raises CatalogError for those not in the repository."""
        problems, files = [], []
        for entry in declaration.entries.values():
            spec = entry.spec
            named = spec.connection.kubeconfig if isinstance(spec, ClusterSpec) else None
            if named is None:
                continue
            path = _normalize(posixpath.join(entry.folder.relative_to(folder).as_posix(), named.file))
            item = self._find(path) if path else None
            if item is None or item.mode not in _REGULAR or item.size > MAX_FILE_BYTES:
                file, _, line = entry.origin.rpartition(":")
                message = f"{named.file!r} is not a file of this repository of at most {MAX_FILE_BYTES:,} bytes"
                expected = "a kubeconfig in the repository; or add the cluster with `kubeprobe cluster add`"
                field = "spec.connection.kubeconfig.file"
                problems.append(CatalogProblem(file, int(line), f"Cluster/{entry.name}", field, message, expected))
            else:
                files.append(item)
        if problems:
            raise CatalogError(problems)
        self._write([item for item in files if not (folder / item.path).exists()], folder)

    def _yaml_files(self, problems: list[CatalogProblem]) -> Iterator[_Item]:
        items = self._list(f"{self.commit}:{self.path}" if self.path else self.commit, self.path)
        here = {item.path for item in items}
        for found in items:
            hidden = any(part.startswith(".") for part in posixpath.relpath(found.path, self.path or ".").split("/"))
            if hidden or not found.path.endswith(_SUFFIXES):
                continue
            item = self._resolve_link(found, problems) if found.mode == _LINK else found
            if item is None or item.mode not in _REGULAR or (item is not found and item.path in here):
                continue
            if item.size > MAX_FILE_BYTES:
                expected = f"at most {MAX_FILE_BYTES:,}"
                problems.append(self._problem(found.path, f"the file has {item.size:,} bytes", expected))
                continue
            yield item._replace(path=found.path)

    def _resolve_link(self, link: _Item, problems: list[CatalogProblem]) -> _Item | None:
        """The file that a symbolic link leads to."""
        if link.size > MAX_LINK_BYTES:  # checked before it is read
            message = f"a link of {link.size:,} bytes"
            problems.append(self._problem(link.path, message, f"a file, or a link of at most {MAX_LINK_BYTES:,} bytes"))
            return None
        target = self.mirror.git(self.runner, "cat-file", "blob", link.id).decode(errors="replace")
        path = _normalize(posixpath.join(posixpath.dirname(link.path), target))
        if path is None:
            problems.append(self._problem(link.path, "a link that leads out of the repository", "a file"))
            return None
        item = self._find(path)
        if item is None or item.mode not in _REGULAR:
            problems.append(self._problem(link.path, f"a link to {target!r}, which is not a file", "a file"))
            return None
        return item

    def _find(self, path: str) -> _Item | None:
        """The entry at a path; links are not followed."""
        return next((item for item in self._list(self.commit, "", path) if item.path == path), None)

    def _list(self, tree: str, below: str, *only: str) -> Sequence[_Item]:
        recursive = () if only else ("-r",)
        listed = self.mirror.git(self.runner, "ls-tree", *recursive, "-z", "-l", "--full-tree", tree, "--", *only)
        return [_item(line, below) for line in listed.decode(errors="surrogateescape").split("\0") if line]

    def _write(self, items: Sequence[_Item], folder: Path) -> None:
        """Reads all contents with one git command."""
        if not items:
            return
        ids = "".join(f"{item.id}\n" for item in items).encode()
        output = memoryview(self.mirror.git(self.runner, "cat-file", "--batch", stdin=ids))
        at = 0
        for item in items:
            at += len(f"{item.id} blob {item.size}\n")
            file = folder / item.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(output[at : at + item.size])
            at += item.size + 1

    def _problem(self, path: str, message: str, expected: str) -> CatalogProblem:
        return CatalogProblem(self.shown(path), 1, "", "", message, expected=expected)


def _item(line: str, below: str) -> _Item:
    meta, _, path = line.partition("\t")
    mode, _, identity, size = meta.split()
    return _Item(mode, identity, 0 if size == "-" else int(size), posixpath.join(below, path))


def _normalize(path: str) -> str | None:
    """The normalized path; None if it leads out of the repository."""
    normalized = posixpath.normpath(path)
    leads_out = normalized.startswith(("/", "~", "../")) or normalized == ".."
    return None if leads_out else normalized
