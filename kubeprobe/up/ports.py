"""Ports of the processes that listen: the usual ones, or free ones where those are taken."""

import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

USUAL = {"broker": 6379, "flower": 5555, "cluster": 6443, "web": 8080}


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the processes that listen."""

    broker: int
    flower: int
    cluster: int
    web: int

    @classmethod
    def choose(cls, data_dir: Path) -> "Ports":
        """For each process: the port of the last start, else the usual one, else any free port."""
        file = data_dir / "ports.json"
        wanted = USUAL | (orjson.loads(file.read_bytes()) if file.exists() else {})
        chosen = cls(**{name: _free(wanted[name]) for name in USUAL})
        file.write_bytes(orjson.dumps(asdict(chosen)))
        return chosen

    def web_url(self) -> str:
        """The URL of the REST API and the pages."""
        return f"http://127.0.0.1:{self.web}"

    def flower_url(self) -> str:
        """The URL of Flower."""
        return f"http://127.0.0.1:{self.flower}"


def _free(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(trial.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
