"""From a source's row to what its branch declares now: fetched, taken out of the commit, parsed. Next: `sync`."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeprobe.catalog import Author, Connector, Declaration, known_names, parse
from kubeprobe.catalog.parse import Entry
from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher, Connection, from_kubeconfig
from kubeprobe.fleet.kubeconfig import read_kubeconfig
from kubeprobe.settings import Settings
from kubeprobe.sources.address import parse_address
from kubeprobe.sources.git import Remote, calling
from kubeprobe.sources.mirror import Fetched, Mirror
from kubeprobe.sources.secret import Secret
from kubeprobe.sources.tree import Tree
from kubeprobe.store import Source, Store

_REACHES_OUT = ("exec", "auth-provider", "tokenFile", "client-certificate", "client-key", "certificate-authority")
"""Fields of a kubeconfig that run something on, or read something of, the machine that uses it."""


@dataclass(frozen=True)
class RepositoryConnector(Connector):
    """Connects clusters that a repository declares: who may push to it is not to command the workers' machines."""

    def connect(self, entry: Entry) -> Connection:
        """As its base does; raises InvalidInputError, too, for a kubeconfig that needs more than itself."""
        source = entry.spec.connection.kubeconfig  # type: ignore[attr-defined]  # only clusters are connected
        if source is None:
            return super().connect(entry)
        file = entry.folder / source.file  # as `tree` took it out: a `~` is a folder of the repository, nobody's home
        try:
            found = read_kubeconfig(file)
            for named in [*(found.get("users") or ()), *(found.get("clusters") or ())]:
                _check_self_contained(named)
            return from_kubeconfig(file, source.context)
        except InvalidInputError as error:
            raise InvalidInputError(str(error).replace(str(file), _shown(entry.origin, source.file))) from None


def _shown(origin: str, file: str) -> str:
    """How a file that the document at `origin` names is called, SOURCE@COMMIT:PATH; not where it was taken out to."""
    commit, _, path = origin.rpartition(":")[0].partition(":")
    return f"{commit}:{posixpath.normpath(posixpath.join(posixpath.dirname(path), file))}"


def _check_self_contained(named: dict[str, Any]) -> None:
    """Both parts, whichever of them the entry's own section asks for."""
    for kind in ("user", "cluster"):
        part = named.get(kind) or {}
        if not isinstance(part, dict):
            raise InvalidInputError(f"the kubeconfig's {kind} {named.get('name')!r} is no mapping; expected its fields")
        if outside := [field for field in _REACHES_OUT if field in part]:
            raise InvalidInputError(
                f"its {named.get('name')!r} says {outside[0]!r}, which a kubeconfig from Git may not: everything has "
                "to be in it (certificate-authority-data, token ...); or add the cluster with `kubeprobe cluster add`"
            )


@dataclass(frozen=True)
class SyncContext:
    """What a process needs to work with sources."""

    store: Store
    settings: Settings
    cipher: Cipher
    clock: Clock = utc_now

    @classmethod
    def of(cls, store: Store, settings: Settings) -> "SyncContext":
        """The means of an installation."""
        return cls(store, settings, Cipher.from_settings(settings))

    @property
    def folder(self) -> Path:
        """Where the copies of repositories are."""
        return self.settings.data_dir.resolve() / "sources"

    @property
    def connector(self) -> Connector:
        """What declared clusters are connected with."""
        return RepositoryConnector(self.cipher, self.settings.local_kubeconfig().resolve())


@dataclass(frozen=True)
class Reading:
    """A source's branch as it is now. Its files are there while it is open."""

    fetched: Fetched
    tree: Tree
    tree_id: str
    source: Source
    context: SyncContext
    folder: Path

    @property
    def author(self) -> Author:
        """In whose name this is applied."""
        return Author(self.source.name, self.fetched.commit)

    def declaration(self) -> Declaration:
        """What the files declare. Raises CatalogError with everything that is wrong with them."""
        self.tree.export(self.folder)
        with self.context.store.reading() as session:
            known = known_names(session, prune=self.source.prune, source=self.source.name)
        found = parse([self.folder / self.tree.path], known, self._shown)
        self.tree.take_kubeconfigs(found, self.folder)
        return found

    def _shown(self, file: Path) -> str:
        return self.tree.shown(file.relative_to(self.folder).as_posix())


@contextmanager
def reading(context: SyncContext, source: Source) -> Iterator[Reading]:
    """Fetch a source. Raises GitError, and SecretKeyError where its secret cannot be opened."""
    remote = Remote(parse_address(source.url), Secret.open(context.cipher, source.secret))
    mirror = Mirror(context.folder, source.name)
    with mirror.held() as lock:
        fetched = mirror.fetch(remote, source.branch, lock)
        with calling(context.folder) as call:
            tree = Tree(mirror, call, source.name, fetched.commit, source.path)
            yield Reading(fetched, tree, tree.id(), source, context, call.home / "tree")
