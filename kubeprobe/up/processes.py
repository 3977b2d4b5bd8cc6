"""The processes of `up`: those of the Procfile, an embedded broker and a local cluster."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Printer

from kubeprobe.settings import Settings
from kubeprobe.up.broker import EmbeddedBroker
from kubeprobe.up.example import accounts_file
from kubeprobe.up.ports import Ports

START_DELAY_S = {"responder": 4, "web": 6, "flower": 8}
"""These are not needed for the first verdict; started at once, they would delay it on a small machine."""


class ProcessManager(Manager):  # type: ignore[misc]
    """honcho's, which can be stopped while its processes are still starting: it then stops when all have started."""

    def __init__(self, printer: Printer, on_started: Callable[[], None]) -> None:
        """`on_started` is called once, when all processes have been forked; only then may threads be started."""
        super().__init__(printer=printer)
        self._on_started: Callable[[], None] | None = on_started
        self._is_stopping = False

    def terminate(self) -> None:
        """Stop all processes. honcho fails for those whose id it does not know yet, and then waits for ever."""
        self._is_stopping = True
        self._proceed()

    def _system_print(self, data: str) -> None:
        """Called by honcho for each process that has started or stopped, too."""
        super()._system_print(data)
        self._proceed()

    def _proceed(self) -> None:
        if not self._all_started():
            return
        if self._on_started is not None:
            on_started, self._on_started = self._on_started, None
            on_started()
        if self._is_stopping:
            super().terminate()


def processes(settings: Settings, ports: Ports, broker: EmbeddedBroker, images: Sequence[str] = ()) -> dict[str, str]:
    """The shell command of each process, by name."""
    procfile = parse_procfile((resources.files("kubeprobe.up") / "Procfile").read_text())
    return {
        "valkey": broker.command,
        "localcluster": _local_cluster(settings, ports, images),
        **{name: f"sleep {START_DELAY_S.get(name, 0)}; {command}" for name, command in procfile.processes.items()},
    }


def environment(settings: Settings, ports: Ports, broker: EmbeddedBroker) -> dict[str, str]:
    """The processes' environment: the current one, with settings and ports, and this interpreter's programs first."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "KUBEPROBE_DATA_DIR": str(settings.data_dir.resolve()),
        "KUBEPROBE_DATABASE_URL": settings.database(),
        "KUBEPROBE_BROKER_URL": broker.url,
        "KUBEPROBE_FLOWER_PORT": str(ports.flower),
        "KUBEPROBE_WEB_PORT": str(ports.web),
    }


def _local_cluster(settings: Settings, ports: Ports, images: Sequence[str]) -> str:
    folder = settings.data_dir.resolve() / "localcluster"
    command = [sys.executable, "-m", "kubeprobe.localcluster", "--port", str(ports.cluster), "--dir", str(folder)]
    command += ["--kubeconfig", str(settings.local_kubeconfig().resolve())]
    command += ["--apply", str(accounts_file(settings).resolve())]
    command += ["--images", str(settings.local_images().resolve())]
    for image in images:
        command += ["--image", image]
    return f"exec {shlex.join(command)}"
