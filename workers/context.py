"""What the tasks of one worker process share: opened once at its start, handed to every task."""

from dataclasses import dataclass

from celery import Celery

from kubeprobe.catalog import CatalogCache
from kubeprobe.clock import utc_now
from kubeprobe.effects import Effects, dispatch
from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store, open_store
from kubeprobe.store.migrate import check_schema, installation_id


@dataclass(frozen=True)
class WorkerContext:
    """The open context of a worker process."""

    settings: Settings
    store: Store
    queue: Queue
    catalogs: CatalogCache
    launcher: Launcher

    @classmethod
    def open(cls, app: Celery, settings: Settings) -> "WorkerContext":
        """Open everything; refuses a store of another version."""
        store = open_store(settings.database())
        check_schema(store)
        catalogs = CatalogCache()
        launcher = Launcher(
            store=store,
            catalogs=catalogs,
            clients=ClusterClients(Cipher.from_settings(settings)),
            loop=LoopThread(),
            settings=settings,
            installation=installation_id(store),
            clock=utc_now,
        )
        return cls(settings, store, Queue(app), catalogs, launcher)

    def dispatch(self, effects: Effects) -> None:
        """Send what a committed transaction asks for."""
        dispatch(self.queue, effects, self.settings.batch_size)

    def close(self) -> None:
        """Close connections to clusters and store."""
        self.launcher.loop.run(self.launcher.clients.close())
        self.launcher.loop.close()
        self.store.close()
