"""The installation that a process works with: its settings, store and queue, and who is calling."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from kubeprobe.app.permission import OPERATOR, Caller, Permission
from kubeprobe.catalog import CatalogCache, Connector
from kubeprobe.clock import Clock, utc_now
from kubeprobe.effects import Effects, dispatch
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.sources import SyncContext
from kubeprobe.store import Store, StoreClock, open_store
from kubeprobe.store.engine import describe_address
from kubeprobe.store.migrate import installation_id, migrate, open_migrated_store

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Installation:
    """What every use case takes first. Close it, or use it as a context manager."""

    settings: Settings
    store: Store
    queue: Queue
    caller: Caller = OPERATOR
    clock: Clock = utc_now
    catalogs: CatalogCache = field(default_factory=CatalogCache)
    on_broker_unreachable: Callable[[], None] = lambda: None
    """Called when effects of a committed transaction were not sent: beat sends them again from the store."""

    @classmethod
    def open(
        cls,
        settings: Settings,
        on_broker_unreachable: Callable[[], None] = lambda: None,
        connect: Callable[[str, Clock], Queue] = Queue.connect,
        process: str = "",
    ) -> Self:
        """Open the store, which must be migrated. The broker is not contacted before something is sent.

        `connect`: `Publisher.connect` in a process that goes on after it has published; its name is `process`.

        Raises NoStoreError and SchemaOutdatedError.
        """
        store = open_migrated_store(settings.database(), settings.statement_timeout)
        clock = StoreClock(store, process)
        queue = connect(settings.broker(), clock)
        return cls(settings, store, queue, clock=clock, on_broker_unreachable=on_broker_unreachable)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Publish what is pending, and close the store."""
        self.queue.close()
        self.store.close()

    @cached_property
    def cipher(self) -> Cipher:
        """What seals and opens credentials."""
        return Cipher.from_settings(self.settings)

    @property
    def connector(self) -> Connector:
        """What opens the connections that a catalog declares."""
        return Connector(self.cipher, self.settings.local_kubeconfig().resolve())

    @property
    def sync_context(self) -> SyncContext:
        """What fetching and applying sources takes."""
        return replace(SyncContext.of(self.store, self.settings), clock=self.clock)

    def read(self, view: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Evaluate a view in one read-only transaction: ``installation.read(list_runs, RunFilter(case="dns"))``.

        Raises NotPermittedError unless the caller may read.
        """
        self.caller.require(Permission.READ, "read")
        return self.query(view, *args, **kwargs)

    def query(self, view: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, for use cases: they have checked their own permission."""
        with self.store.reading() as session:
            return view(session, *args, **kwargs)

    def is_database_up(self) -> bool:
        """Whether the database answers a query."""
        try:
            self.query(lambda session: session.execute(text("SELECT 1")))
        except SQLAlchemyError:
            return False
        return True

    def dispatch(self, effects: Effects) -> None:
        """Send the effects of a committed transaction."""
        if not dispatch(self.queue, effects, self.settings.batch_size):
            self.on_broker_unreachable()


def migrate_store(settings: Settings, clock: Clock = utc_now) -> tuple[str, str]:
    """Create the store or upgrade it; gives its address without password, and the installation's id."""
    store = open_store(settings.database(), statement_timeout=None)
    try:
        migrate(store, clock())
        return describe_address(settings.database()), installation_id(store)
    finally:
        store.close()
