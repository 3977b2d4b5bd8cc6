"""Everything on this machine: `kubeprobe up` starts an embedded broker, a local cluster and every process.

For trying KubeProbe and for developing probes. In production the same Procfile's processes run on their own, against
a PostgreSQL and a Redis that are kept elsewhere.
"""

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from honcho.manager import Manager

from kubeprobe.clock import utc_now
from kubeprobe.settings import Settings
from kubeprobe.store import Store, open_store
from kubeprobe.store.migrate import migrate
from kubeprobe.up.example import load_example, write_accounts
from kubeprobe.up.logfiles import LogFiles
from kubeprobe.up.only import only_one
from kubeprobe.up.ports import Ports
from kubeprobe.up.processes import environment, processes
from kubeprobe.up.verdicts import print_verdicts


@dataclass(frozen=True)
class Installation:
    """One `kubeprobe up`: its folder, its addresses, its store."""

    settings: Settings
    ports: Ports
    store: Store


def up(settings: Settings, images: Sequence[str] = ()) -> int:
    """Start everything, print verdicts as they arrive, until Ctrl-C; gives the exit code.

    `images` (NAME=DIR) are folders that the local cluster takes for images: probes of one's own. The next start with
    the same data_dir goes on where this one was. Raises KubeProbeError if one is running already.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with only_one(settings.data_dir):
        ports = Ports.choose(settings.data_dir)
        (settings.data_dir / "broker.url").write_text(ports.broker_url())
        store = open_store(settings.database())
        migrate(store, utc_now())
        load_example(store, settings, utc_now())
        write_accounts(store, settings)
        return _run(Installation(settings, ports, store), processes(settings, ports, images))


def _run(installation: Installation, commands: Mapping[str, str]) -> int:
    settings, ports = installation.settings, installation.ports
    stop = threading.Event()
    # Honcho forks its children first, which a thread would not survive in order.
    printer = threading.Thread(
        target=print_verdicts, args=(installation.store, ports, settings, stop), name="verdicts", daemon=True
    )
    logs = LogFiles(settings.data_dir / "logs", begun=printer.start)
    manager = Manager(printer=logs)
    env = environment(settings, ports)
    for name, command in commands.items():
        manager.add_process(name, command, env=env, cwd=str(Path.cwd()))
    try:
        manager.loop()
    finally:
        stop.set()
        logs.close()
        installation.store.close()
    return _farewell(manager.returncode or 0, logs)


def _farewell(code: int, logs: LogFiles) -> int:
    if code in (130, 143):  # Ctrl-C, SIGTERM: asked for
        sys.stdout.write("Stopped. The next `kubeprobe up` goes on from here.\n")
        return 0
    sys.stderr.write(f"{logs.first_stopped or 'A process'} ended by itself, so all were stopped. {logs.tail()}\n")
    return 1
