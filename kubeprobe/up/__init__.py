"""`kubeprobe up`: all of KubeProbe on this machine, with an embedded broker and a local cluster.

For trying KubeProbe and for developing probes. In production, the processes of the same Procfile run as services,
with PostgreSQL and Redis.
"""

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubeprobe.app import migrate_store
from kubeprobe.errors import InvalidInputError
from kubeprobe.privatefiles import is_controlled_by_others, make_private_folder, take_from_others
from kubeprobe.settings import Settings
from kubeprobe.store import Store, StoreClock, open_store
from kubeprobe.up.broker import EmbeddedBroker
from kubeprobe.up.example import load_example, write_accounts
from kubeprobe.up.logfiles import LogFiles
from kubeprobe.up.only import is_used, only_one
from kubeprobe.up.ports import Ports
from kubeprobe.up.processes import ProcessManager, environment, processes
from kubeprobe.up.verdicts import print_verdicts

PRIVATE = 0o077
"""The umask of all processes: what they store may hold secrets, and others may have an account on this machine."""


@dataclass(frozen=True)
class Installation:
    """One `kubeprobe up`: its settings, ports and store."""

    settings: Settings
    ports: Ports
    broker: EmbeddedBroker
    store: Store


def up(settings: Settings, images: Sequence[str] = ()) -> int:
    """Start everything, print verdicts as they arrive, until Ctrl-C; returns the exit code.

    `images` (NAME=DIR) are folders that the local cluster serves as images: the user's own probes. The next start with
    the same data_dir continues with its data. Raises KubeProbeError if one is running already.
    """
    os.umask(PRIVATE)
    make_private_folder(settings.data_dir)
    if is_used(settings.data_dir):  # perhaps by a version that let others read; never a folder of somebody else's
        take_from_others(settings.data_dir)
    if is_controlled_by_others(settings.data_dir):
        raise InvalidInputError(
            f"Other users can write to {settings.data_dir}, and so run code as this user. Set another folder "
            "(KUBEPROBE_DATA_DIR), or make it yours alone (chown, chmod go-w)."
        )
    with only_one(settings.data_dir):
        ports = Ports.choose(settings.data_dir)
        broker = EmbeddedBroker.prepare(settings.data_dir, ports.broker)
        migrate_store(settings)
        store = open_store(settings.database(), settings.statement_timeout)
        load_example(store, settings, StoreClock(store)())
        write_accounts(store, settings)
        return _run(Installation(settings, ports, broker, store), processes(settings, ports, broker, images))


def _run(installation: Installation, commands: Mapping[str, str]) -> int:
    settings, ports = installation.settings, installation.ports
    stop = threading.Event()
    # The thread is started when honcho has forked its children: forking a process with threads is unsafe.
    printer = threading.Thread(
        target=print_verdicts, args=(installation.store, ports, settings, stop), name="verdicts", daemon=True
    )
    logs = LogFiles(settings.data_dir / "logs")
    manager = ProcessManager(logs, on_started=printer.start)
    env = environment(settings, ports, installation.broker)
    for name, command in commands.items():
        manager.add_process(name, command, env=env, cwd=str(Path.cwd()))
    try:
        manager.loop()
    finally:
        stop.set()
        logs.close()
        installation.store.close()
    return _report_end(manager.returncode or 0, logs)


def _report_end(code: int, logs: LogFiles) -> int:
    if code in (130, 143):  # Ctrl-C, SIGTERM
        sys.stdout.write("Stopped. The next `kubeprobe up` continues with this data.\n")
        return 0
    sys.stderr.write(
        f"{logs.first_stopped or 'A process'} exited unexpectedly, so all processes were stopped. {logs.tail()}\n"
    )
    return 1
