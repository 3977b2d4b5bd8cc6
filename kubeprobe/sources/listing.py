"""The entries of a commit, and where its symbolic links lead: as a file system resolves them, without creating any.

Git lists entries and reads links in batches: one process for all, however many there are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kubeprobe.sources.git import GitRunner
from kubeprobe.sources.mirror import Mirror

MAX_LINK_BYTES = 4096
"""Linux's limit for a path."""
MAX_HOPS = 40
"""Linux's limit for the links in one path."""
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

    @classmethod
    def read(cls, mirror: Mirror, runner: GitRunner, commit: str, path: str = "") -> "Listing":
        """The entries of a commit, or only those of a folder of it."""
        tree = f"{commit}:{path}" if path else commit
        listed = mirror.git(runner, "ls-tree", "-r", "-t", "-z", "-l", "--full-tree", tree)
        items = {}
        children: dict[str, list[Item]] = {}
        for line in listed.decode(errors="surrogateescape").split("\0"):
            if line:
                item = _item(line, path)
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
                continue
            hops += 1
            if hops > MAX_HOPS:
                raise BrokenLinkError(f"more than {MAX_HOPS} links lead to one another")
            parts += self._target(item, unread).split("/")[::-1]
        resolved = "/".join(here)
        if (item := self.items.get(resolved)) is None:
            raise BrokenLinkError(f"a link to {resolved or 'the whole repository'!r}, which is not a file or folder")
        return item

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
    """The contents of files and links, by one git command."""
    wanted = list(items)
    if not wanted:
        return []
    ids = "".join(f"{item.id}\n" for item in wanted).encode()
    output = memoryview(mirror.git(runner, "cat-file", "--batch", stdin=ids))
    contents, at = [], 0
    for item in wanted:
        at += len(f"{item.id} blob {item.size}\n")
        contents.append(output[at : at + item.size])
        at += item.size + 1
    return contents


def _item(line: str, below: str) -> Item:
    meta, _, path = line.partition("\t")
    mode, _, identity, size = meta.split()
    return Item(mode, identity, 0 if size == "-" else int(size), f"{below}/{path}" if below else path)
