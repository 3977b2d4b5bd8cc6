"""Exporting the catalog's files of a commit to a folder that `catalog.parse` reads.

Files are read by object id: `git checkout` is not used, so no filter or hook runs, and no link is created. A symbolic
link to a file or folder of the repository is replaced by it; one that leads elsewhere is an error.
"""

import errno
import hashlib
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kubeprobe.catalog import CatalogError, CatalogProblem, Declaration
from kubeprobe.catalog.model import ClusterSpec
from kubeprobe.sources.git import GitError, GitRunner
from kubeprobe.sources.listing import MAX_LINK_BYTES, BrokenLinkError, Item, Listing, read_blobs
from kubeprobe.sources.mirror import Mirror, list_known

MAX_FILE_BYTES = 1_000_000
MAX_TOTAL_BYTES = 20_000_000
MAX_KUBECONFIG_BYTES = 100_000_000
"""Of all kubeconfigs of a source: some 10,000."""
MAX_FILES = 5000
_BATCH_BYTES = 8_000_000
"""Held in memory at a time."""
SHOWN_COMMIT = 12
_BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_SUFFIXES = (".yaml", ".yml")
_LINK_EXPECTED = f"a link of at most {MAX_LINK_BYTES:,} bytes to a file or folder of the repository"


@dataclass
class _Export:
    """The YAML files of a source, by their path in the export, and what is wrong with the rest."""

    files: dict[str, Item] = field(default_factory=dict)
    problems: list[CatalogProblem] = field(default_factory=list)
    submodules: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """Paths in the repository of the files: one that several links lead to is exported once."""
    walked: set[str] = field(default_factory=set)
    """Paths in the repository of the folders that were walked."""


@dataclass(frozen=True)
class Tree:
    """The folder of a source at a commit."""

    mirror: Mirror
    runner: GitRunner
    source: str
    commit: str
    path: str
    """Path in the repository; empty for its root."""
    outside: set[str] = field(default_factory=set)
    """Kubeconfigs outside of the folder that clusters refer to, whether they exist or not (`export_kubeconfigs`)."""

    def id_as_exported(self) -> str:
        """An id of all that was exported: that of the commit's root if a kubeconfig is outside of the folder."""
        return self.root_id() if self.outside else self.id()

    def root_id(self) -> str:
        """Git's id of the repository's root."""
        found = self.mirror.git(self.runner, "rev-parse", "--verify", "--quiet", f"{self.commit}^{{tree}}")
        return found.decode().strip()

    def id(self) -> str:
        """An id of all that the source consists of: Git's id of the folder, unless links lead out of it.

        Raises GitError if there is no such folder.
        """
        folder = self._folder_id()
        outside = sorted((item.path, item.id) for path, item in self._export.files.items() if item.path != path)
        if not outside:
            return folder
        return hashlib.sha256(repr((folder, outside)).encode(errors="surrogateescape")).hexdigest()

    def _folder_id(self) -> str:
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
        folders = [item.path for item in self._commit.items.values() if item.is_folder and item.path.isprintable()]
        folders.sort(key=lambda found: (found.count("/"), found))
        return f"there is no folder {self.path!r} {where}.{list_known(self.path, folders)}"

    def shown(self, path: str) -> str:
        """The name of a file in origins and problems: SOURCE@COMMIT:PATH."""
        printable = path.encode(errors="surrogateescape").decode(errors="replace")
        return f"{self.source}@{self.commit[:SHOWN_COMMIT]}:{printable}"

    @property
    def submodules(self) -> Sequence[str]:
        """Paths of submodules in the folder: their content is in other repositories, and is not fetched."""
        return self._export.submodules

    def export(self, folder: Path) -> None:
        """Write the YAML files to `folder`, under their paths in the repository. Raises CatalogError."""
        files, problems = self._export.files, list(self._export.problems)
        if len(files) > MAX_FILES:
            problems.append(self._problem(self.path or ".", f"{len(files)} files", f"at most {MAX_FILES}"))
        total = sum(item.size for item in files.values())
        if total > MAX_TOTAL_BYTES:
            problems.append(self._problem(self.path or ".", f"{total:,} bytes", f"at most {MAX_TOTAL_BYTES:,}"))
        if problems:
            raise CatalogError(problems)
        self._write(files, folder)
        (folder / self.path).mkdir(parents=True, exist_ok=True)

    def export_kubeconfigs(self, declaration: Declaration, folder: Path) -> None:
        """Write the kubeconfigs that clusters refer to. Raises CatalogError for those not in the repository."""
        wanted = {}
        for entry in declaration.entries.values():
            named = entry.spec.connection.kubeconfig if isinstance(entry.spec, ClusterSpec) else None
            if named is not None:
                below = entry.folder.relative_to(folder).as_posix()
                wanted[entry.name] = (entry, named.file, _normalize(posixpath.join(below, named.file)))
        if not wanted:
            return
        found = self._commit.resolve({path for _, _, path in wanted.values() if path})
        problems, files = [], {}
        for entry, named_file, path in wanted.values():
            item = found.get(path or "")
            self._note_outside(path, item)
            if path and isinstance(item, Item) and item.is_file and item.size <= MAX_FILE_BYTES:
                files[path] = item
                continue
            file, _, line = entry.origin.rpartition(":")
            message = f"{named_file!r} is not a file of this repository of at most {MAX_FILE_BYTES:,} bytes"
            expected = "a kubeconfig in the repository; or add the cluster with `kubeprobe cluster add`"
            name = "spec.connection.kubeconfig.file"
            problems.append(CatalogProblem(file, int(line), f"Cluster/{entry.name}", name, message, expected))
        total = sum(item.size for item in files.values())
        if total > MAX_KUBECONFIG_BYTES:
            message = f"its kubeconfigs have {total:,} bytes"
            problems.append(self._problem(self.path or ".", message, f"at most {MAX_KUBECONFIG_BYTES:,}"))
        if problems:
            raise CatalogError(problems)
        self._write({path: item for path, item in files.items() if not (folder / path).exists()}, folder)

    def _note_outside(self, path: str | None, item: Item | BrokenLinkError | None) -> None:
        within = f"{self.path}/" if self.path else ""
        for each in (path, item.path if isinstance(item, Item) else path):
            if each is not None and not each.startswith(within):
                self.outside.add(each)

    @cached_property
    def _commit(self) -> Listing:
        """All of the commit: read where something leads out of the folder."""
        return Listing.read(self.mirror, self.runner, self.commit)

    @cached_property
    def _export(self) -> _Export:
        """The files of the folder first, then what its links lead to."""
        found = _Export()
        folder = Listing.read(self.mirror, self.runner, self.commit, self.path)
        links = self._walk(folder, self.path, self.path, found)
        while links and len(found.files) <= MAX_FILES:
            links = self._follow(links, found)
        return found

    def _walk(self, listing: Listing, real: str, shown: str, found: _Export) -> dict[str, str]:
        """Export the files of a folder; gives its links, by their path in the export.

        A folder that was walked before is left out: all that it has is exported.
        """
        links: dict[str, str] = {}
        waiting = [(real, shown)]
        while waiting:
            real, shown = waiting.pop()
            if real in found.walked:
                continue
            found.walked.add(real)
            shown_items = [
                (posixpath.join(shown, name), item)
                for item in listing.children.get(real, ())
                if not (name := posixpath.basename(item.path)).startswith(".")
            ]
            waiting += [(item.path, path) for path, item in shown_items if item.is_folder]
            links |= {path: item.path for path, item in shown_items if item.is_link}
            found.submodules += [path for path, item in shown_items if item.is_submodule]
            for path, item in shown_items:
                if not (item.is_folder or item.is_link or item.is_submodule):
                    self._add(path, item, found)
        return links

    def _follow(self, links: dict[str, str], found: _Export) -> dict[str, str]:
        """Export what links lead to; gives the links within the folders among that."""
        deeper: dict[str, str] = {}
        resolved = self._commit.resolve(set(links.values()))
        for path, real in links.items():
            item = resolved[real]
            if isinstance(item, BrokenLinkError):
                found.problems.append(self._problem(path, str(item), _LINK_EXPECTED))
            elif item.is_folder:
                deeper |= self._walk(self._commit, item.path, path, found)
            elif path.endswith(_SUFFIXES) and not item.is_file:
                found.problems.append(self._problem(path, "a link to a submodule", _LINK_EXPECTED))
            else:
                self._add(path, item, found)
        return deeper

    def _add(self, path: str, item: Item, found: _Export) -> None:
        if not (path.endswith(_SUFFIXES) and item.is_file) or item.path in found.seen:
            return
        if item.size > MAX_FILE_BYTES:
            message = f"the file has {item.size:,} bytes"
            found.problems.append(self._problem(path, message, f"at most {MAX_FILE_BYTES:,}"))
            return
        found.seen.add(item.path)
        found.files[path] = item

    def _write(self, files: Mapping[str, Item], folder: Path) -> None:
        problems: list[CatalogProblem] = []
        for batch in _batches(files):
            contents = read_blobs(self.mirror, self.runner, batch.values())
            for path, content in zip(batch, contents, strict=True):
                file = folder / path
                try:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                except OSError as error:
                    if error.errno not in _BAD_NAME:  # such as a full disk
                        raise GitError(f"the files of the commit cannot be written: {error.strerror}") from error
                    problems.append(self._problem(path, f"a file cannot have this name: {error.strerror}", "another"))
        if problems:
            raise CatalogError(problems)

    def _problem(self, path: str, message: str, expected: str) -> CatalogProblem:
        return CatalogProblem(self.shown(path), 1, "", "", message, expected=expected)


def _batches(files: Mapping[str, Item]) -> Iterator[dict[str, Item]]:
    batch: dict[str, Item] = {}
    size = 0
    for path, item in files.items():
        if batch and size + item.size > _BATCH_BYTES:
            yield batch
            batch, size = {}, 0
        batch[path] = item
        size += item.size
    yield batch


def _normalize(path: str) -> str | None:
    """The normalized path; None if it leads out of the repository."""
    normalized = posixpath.normpath(path)
    leads_out = normalized.startswith(("/", "~", "../")) or normalized == ".."
    return None if leads_out else normalized
