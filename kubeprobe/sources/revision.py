"""The newest revision of a source: fetched, exported and parsed. Next: `sync` applies it."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeprobe.catalog import Author, CatalogError, Connector, Declaration, known_names, parse
from kubeprobe.catalog.parse import Entry
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher, Connection, ReadKubeconfig, from_kubeconfig
from kubeprobe.fleet.kubeconfig import read_kubeconfig
from kubeprobe.settings import Settings
from kubeprobe.sources.address import parse_address
from kubeprobe.sources.git import Remote, git_runner
from kubeprobe.sources.grants import Grant, missing_grants
from kubeprobe.sources.mirror import Fetched, Mirror
from kubeprobe.sources.secret import Secret
from kubeprobe.sources.tree import Tree
from kubeprobe.store import Source, Store

_EXTERNAL_FIELDS = ("exec", "auth-provider", "tokenFile", "client-certificate", "client-key", "certificate-authority")
"""Fields of a kubeconfig that run a program, or read a file, on the machine that uses it."""


@dataclass(frozen=True)
class RepositoryConnector(Connector):
    """Reads connections of clusters that a repository declares: who can push to it must not control the workers."""

    def connect(self, entry: Entry, read: ReadKubeconfig = read_kubeconfig) -> Connection:
        """As in the base class; also raises InvalidInputError for a kubeconfig that is not self-contained."""
        source = entry.spec.connection.kubeconfig  # type: ignore[attr-defined]  # only clusters are connected
        if source is None:
            return super().connect(entry, read)
        file = entry.folder / source.file  # as exported by `tree`: `~` is a folder of the repository, not a home
        try:
            found = read(file)
            entries = [*(found.get("users") or ()), *(found.get("clusters") or ())]
            for named in filter(None, entries):  # null is an entry without fields
                _check_self_contained(named)
            return from_kubeconfig(file, source.context, read)
        except InvalidInputError as error:
            raise InvalidInputError(str(error).replace(str(file), _display_path(entry.origin, source.file))) from None


def _display_path(origin: str, file: str) -> str:
    """SOURCE@COMMIT:PATH of a file that the document at `origin` refers to, instead of its path in the export."""
    commit, _, path = origin.rpartition(":")[0].partition(":")
    return f"{commit}:{posixpath.normpath(posixpath.join(posixpath.dirname(path), file))}"


def _check_self_contained(named: dict[str, Any]) -> None:
    """Checks `user` and `cluster`, in whichever section the entry is."""
    for kind in ("user", "cluster"):
        part = named.get(kind) or {}
        if not isinstance(part, dict):
            raise InvalidInputError(f"the kubeconfig's {kind} {named.get('name')!r} is not a mapping")
        if external := [field for field in _EXTERNAL_FIELDS if field in part]:
            raise InvalidInputError(
                f"its {named.get('name')!r} has {external[0]!r}, which a kubeconfig from Git must not have: it must "
                "be self-contained (certificate-authority-data, token ...); or use `kubeprobe cluster add`"
            )


@dataclass(frozen=True)
class SyncContext:
    """What all functions on sources need: the store, settings, cipher and clock of a process."""

    store: Store
    settings: Settings
    cipher: Cipher
    clock: Clock = utc_now
    renew_every_s: float = 60.0
    """Between renewals of the claim of a source that is being synced."""

    @classmethod
    def of(cls, store: Store, settings: Settings) -> "SyncContext":
        """The context of an installation."""
        return cls(store, settings, Cipher.from_settings(settings))

    @property
    def folder(self) -> Path:
        """The folder of the mirrors."""
        return self.settings.data_dir.resolve() / "sources"

    @property
    def policy(self) -> TemplatePolicy:
        """What templates of sources may do."""
        return TemplatePolicy.of(self.settings)

    @property
    def connector(self) -> Connector:
        """Reads the connections of declared clusters."""
        return RepositoryConnector(self.cipher, self.settings.local_kubeconfig().resolve())


@dataclass(frozen=True)
class Revision:
    """The newest commit of a source's branch. Its files exist only while it is open."""

    fetched: Fetched
    tree: Tree
    tree_id: str
    source: Source
    context: SyncContext
    folder: Path

    @property
    def author(self) -> Author:
        """The author under which it is applied."""
        return Author(self.source.name, self.fetched.commit, takes_over=Grant.TAKE_OVER in self.source.allow)

    def is_known_as(self, tree_id: str | None) -> bool:
        """Whether all that the source consists of is what was exported under this id (`Tree.id_as_exported`)."""
        return tree_id is not None and (tree_id == self.tree_id or tree_id == self.tree.root_id())

    def declaration(self) -> Declaration:
        """Export and parse the files. Raises CatalogError with every problem."""
        self.tree.export(self.folder)
        with self.context.store.reading() as session:
            known = known_names(session, prune=self.source.prune, source=self.source.name)
        found = parse([self.folder / self.tree.path], known, self._shown)
        if problems := missing_grants(found, self.source.name, self.source.allow):
            raise CatalogError(problems)
        self.tree.export_kubeconfigs(found, self.folder)
        return found

    def _shown(self, file: Path) -> str:
        return self.tree.shown(file.relative_to(self.folder).as_posix())


@contextmanager
def open_revision(context: SyncContext, source: Source) -> Iterator[Revision]:
    """Fetch a source. Raises GitError, and SecretKeyError if its secrets cannot be decrypted."""
    remote = Remote(parse_address(source.url), Secret.open(context.cipher, source.secret))
    mirror = Mirror(context.folder, source.name)
    with mirror.lock() as lock:
        fetched = mirror.fetch(remote, source.branch, lock)
        with git_runner(context.folder) as runner:
            tree = Tree(mirror, runner, source.name, fetched.commit, source.path)
            yield Revision(fetched, tree, tree.id(), source, context, runner.home / "tree")
