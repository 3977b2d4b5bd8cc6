"""The entries of a commit, and where its symbolic links lead: as a file system resolves them, without creating any.

Git lists entries and reads links in batches: one process for all, however many there are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import NamedTuple

from kubeprobe.sources.git import GitError, GitOutputError, GitRunner
from kubeprobe.sources.mirror import Mirror

MAX_LINK_BYTES = 4096
"""Linux's limit for a path."""
MAX_HOPS = 40
"""Linux's limit for the links in one path."""
MAX_LISTING_BYTES = 20_000_000
"""Some 200,000 entries, twice Linux's; folders that contain the same folder several times have them without limit."""
MAX_STEPS = 5_000_000
"""Names that are looked up for all links: some seconds."""
_REGULAR = {"100644", "100755"}
_LINK = "120000"
_FOLDER = "040000"
_SUBMODULE = "160000"


class Item(NamedTuple):
    """An entry of a commit."""

    mode: str
    id: str
    size: int
    path: str
    """From the repository's root."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode in _REGULAR

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mode == _FOLDER

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == _LINK

    @property
    def is_submodule(self) -> bool:
        """Whether it is a submodule, whose content is in another repository."""
        return self.mode == _SUBMODULE


class BrokenLinkError(Exception):
    """A link that leads nowhere within the repository; the message says how."""


class _UnreadLinksError(Exception):
    """The target of this link has not been read yet."""


@dataclass
class Listing:
    """All entries of a commit by path, and the targets of the links that were read."""

    mirror: Mirror
    runner: GitRunner
    items: Mapping[str, Item]
    children: Mapping[str, list[Item]]
    _targets: dict[str, str] = field(default_factory=dict)
    _steps: int = 0

    @classmethod
    def read(cls, mirror: Mirror, runner: GitRunner, commit: str, path: str = "") -> "Listing":
        """The entries of a commit, or only those of a folder of it. Raises GitError if there are too many."""
        tree = f"{commit}:{path}" if path else commit
        command = ("ls-tree", "-r", "-t", "-z", "-l", "--full-tree", tree)
        try:
            listed = mirror.git(runner, *command, max_bytes=MAX_LISTING_BYTES)
        except GitOutputError:
            where = f"folder {path!r}" if path else "the repository"
            message = f"{where} has too many files and folders: their names have more than {MAX_LISTING_BYTES:,} bytes"
            raise GitError(message) from None
        items = {}
        children: dict[str, list[Item]] = {}
        for line in _lines(listed):
            item = _item(line.decode(errors="surrogateescape"), path)
            items[item.path] = item
            children.setdefault(item.path.rpartition("/")[0], []).append(item)
        return cls(mirror, runner, items, children)

    def resolve(self, paths: Iterable[str]) -> dict[str, Item | BrokenLinkError]:
        """What is at each path, with every link on the way followed."""
        found: dict[str, Item | BrokenLinkError] = {}
        waiting = list(paths)
        while waiting:
            unread: dict[str, Item] = {}
            later = []
            for path in waiting:
                try:
                    found[path] = self._follow(path, unread)
                except _UnreadLinksError:
                    later.append(path)
                except BrokenLinkError as error:
                    found[path] = error
            self._read_links(unread.values())
            waiting = later
        return found

    def _follow(self, path: str, unread: dict[str, Item]) -> Item:
        parts, here, hops = path.split("/")[::-1], list[str](), 0
        while parts:
            part = parts.pop()
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise BrokenLinkError("too many links, or too long ones, before this one")
            if part in {"", "."}:
                continue
            if part == "..":
                if not here:
                    raise BrokenLinkError("a link that leads out of the repository")
                here.pop()
                continue
            item = self.items.get("/".join((*here, part)))
            if item is None or not item.is_link:
                here.append(part)
                if item is None or (parts and not item.is_folder):
                    raise BrokenLinkError(f"a link to {'/'.join(here)!r}, which is not a file or folder")
                continue
            hops += 1
            if hops > MAX_HOPS:
                raise BrokenLinkError(f"more than {MAX_HOPS} links lead to one another")
            parts += self._target(item, unread).split("/")[::-1]
        resolved = "/".join(here)
        if not resolved:
            raise BrokenLinkError("a link to the whole repository, which is not a file or folder in it")
        return self.items[resolved]

    def _target(self, link: Item, unread: dict[str, Item]) -> str:
        if link.size > MAX_LINK_BYTES:  # checked before it is read
            raise BrokenLinkError(f"a link of {link.size:,} bytes")
        target = self._targets.get(link.id)
        if target is None:
            unread[link.id] = link
            raise _UnreadLinksError
        if target.startswith("/"):
            raise BrokenLinkError("a link that leads out of the repository")
        return target

    def _read_links(self, links: Iterable[Item]) -> None:
        wanted = list(links)
        contents = read_blobs(self.mirror, self.runner, wanted)
        self._targets |= {
            link.id: bytes(content).decode(errors="surrogateescape")
            for link, content in zip(wanted, contents, strict=True)
        }


def read_blobs(mirror: Mirror, runner: GitRunner, items: Iterable[Item]) -> list[memoryview]:
    """The contents of files and links, by one git command. Raises GitError if one is missing in the mirror."""
    wanted = list(items)
    if not wanted:
        return []
    ids = "".join(f"{item.id}\n" for item in wanted).encode()
    headers = [f"{item.id} blob {item.size}\n".encode() for item in wanted]
    size = sum(len(header) + item.size + 1 for header, item in zip(headers, wanted, strict=True))
    output = memoryview(mirror.git(runner, "cat-file", "--batch", stdin=ids, max_bytes=size))
    contents, at = [], 0
    for header, item in zip(headers, wanted, strict=True):
        if output[at : at + len(header)] != header:
            raise GitError(f"the mirror of source {mirror.name} lacks the file {item.path!r}; it is at {mirror.path}")
        at += len(header)
        contents.append(output[at : at + item.size])
        at += item.size + 1
    return contents


def _lines(listed: bytes) -> Iterator[bytes]:
    start = 0
    while (end := listed.find(b"\0", start)) >= 0:
        yield listed[start:end]
        start = end + 1


def _item(line: str, below: str) -> Item:
    meta, _, path = line.partition("\t")
    mode, _, identity, size = meta.split()
    return Item(intern(mode), identity, 0 if size == "-" else int(size), f"{below}/{path}" if below else path)
