"""The collector's process: opens its context, runs until SIGTERM or SIGINT, releases its clusters."""

import asyncio
import os
import signal
import socket
from contextlib import suppress

from kubeprobe.execution.collect import Collector, CollectorContext
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.logs import configure_logs
from kubeprobe.metrics.listener import serve_metrics
from kubeprobe.queue import Publisher
from kubeprobe.settings import Settings
from kubeprobe.store import StoreClock
from kubeprobe.store.migrate import installation_id, open_migrated_store


def collect(name: str = "") -> None:
    """Collect until SIGTERM or SIGINT."""
    settings = Settings()
    configure_logs(settings.log_format, process="collector")
    store = open_migrated_store(settings.database(), settings.statement_timeout)
    clock = StoreClock(store, "collector")
    context = CollectorContext(
        store=store,
        clients=ClusterClients(Cipher.from_settings(settings), clock),
        queue=Publisher.connect(settings.broker(), clock),
        settings=settings,
        installation=installation_id(store),
        clock=clock,
    )
    serve_metrics(settings, "collector")
    asyncio.run(_run(Collector(name or f"{socket.gethostname()}-{os.getpid()}", context)))
    context.queue.close()
    store.close()


async def _run(collector: Collector) -> None:
    """Both signals end it in order, so that another collector takes over at once."""
    task = asyncio.ensure_future(collector.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
