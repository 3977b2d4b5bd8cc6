"""What the tasks of one worker process share: opened once at its start."""

from collections.abc import Callable
from dataclasses import dataclass

from celery import Celery

from kubeprobe.app import Installation
from kubeprobe.effects import Effects
from kubeprobe.execution.launch import Launcher
from kubeprobe.execution.loop import LoopThread
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.queue import Publisher
from kubeprobe.response.deliver import deliver_all
from kubeprobe.response.routes import TargetRef
from kubeprobe.settings import Settings
from kubeprobe.store import StoreClock
from kubeprobe.store.migrate import installation_id, open_migrated_store
from workers.deliveries import Deliveries


@dataclass(frozen=True)
class WorkerContext:
    """An open installation, and what launchers and responders work with."""

    installation: Installation
    launcher: Launcher
    deliveries: Deliveries

    @classmethod
    def open(cls, app: Celery, settings: Settings, process: str) -> "WorkerContext":
        """Open everything. `process`: `launcher` or `responder`. Raises NoStoreError and SchemaOutdatedError."""
        store = open_migrated_store(settings.database(), settings.statement_timeout)
        clock = StoreClock(store, process)
        installation = Installation(settings, store, Publisher(app, clock), clock=clock)
        launcher = Launcher(
            store=store,
            catalogs=installation.catalogs,
            clients=ClusterClients(installation.cipher, clock),
            loop=LoopThread(),
            settings=settings,
            installation=installation_id(store),
            clock=clock,
        )

        def send(to: TargetRef, start_another: Callable[[], object]) -> bool:
            return deliver_all(store, installation.catalogs, to, installation.clock, start_another)

        return cls(installation, launcher, Deliveries(send, launcher.loop))

    def dispatch(self, effects: Effects) -> None:
        """Send the effects of a committed transaction."""
        self.installation.dispatch(effects)

    def close(self) -> None:
        """End deliveries, and close the connections to clusters and store."""
        self.deliveries.close()
        self.launcher.loop.run(self.launcher.clients.close())
        self.launcher.loop.close()
        self.installation.close()
