"""Ports of the processes that listen: the usual ones, or free ones where those are taken."""

import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from kubeprobe.privatefiles import write_private

FILE = "ports.json"
MAX_BYTES = 4096
MAX_PORT = 65535
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
        file = data_dir / FILE
        wanted = USUAL | parse_ports(_read(file))
        chosen = cls(**{name: _free(wanted[name]) for name in USUAL})
        write_private(file, orjson.dumps(asdict(chosen)).decode())
        return chosen

    def web_url(self) -> str:
        """The URL of the REST API and the pages."""
        return f"http://127.0.0.1:{self.web}"

    def flower_url(self) -> str:
        """The URL of Flower."""
        return f"http://127.0.0.1:{self.flower}"


def parse_ports(text: bytes) -> dict[str, int]:
    """The valid ports in the file of the last start, by process; what is invalid is left out."""
    try:
        found = orjson.loads(text[:MAX_BYTES])
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: port for name in USUAL if type(port := found.get(name)) is int and 0 < port <= MAX_PORT}


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES)
    except FileNotFoundError:
        return b""


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
