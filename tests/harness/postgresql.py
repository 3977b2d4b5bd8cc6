"""A PostgreSQL server for the tests, on a free loopback port."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness.need import lacking
from tests.harness.ports import free_port

_SETTINGS = {"fsync": "off", "max_connections": "200"}
_LITTLE_WAL = {"max_wal_size": "128MB", "min_wal_size": "32MB"}
_PREFIX = "kubeprobe-postgresql-"
_UNLOCKED = "kubeprobe-new-"
_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30
"""Free bytes for the servers of all parallel workers."""


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path := shutil.which("initdb"):
        return Path(on_path).parent
    if not found:
        lacking("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent


def _memory() -> Path | None:
    """A file system in memory, where a database is copied in a fifth of the time; None if it is small or missing.

    Deletes the data of servers whose tests were killed: it would occupy memory until the next boot. Tests that run hold
    a lock, also those of another container, whose processes are not listed here.
    """
    if not _MEMORY.is_dir():
        return None
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        with suppress(OSError), _locked(folder):
            _delete(folder)
    return _MEMORY if shutil.disk_usage(_MEMORY).free > _ENOUGH else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process. Raises OSError if another one holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _delete(folder: Path) -> None:
    with suppress(OSError, IndexError):
        server = (folder / "data" / "postmaster.pid").read_text().split()[0]
        if str(folder) in Path("/proc", server, "cmdline").read_text():
            os.kill(int(server), signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _new_folder(memory: Path | None) -> Iterator[Path]:
    """A locked folder, deleted at the end. It has its name once it is locked."""
    unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=memory))
    with _locked(unlocked):
        folder = unlocked.rename(unlocked.with_name(unlocked.name.replace(_UNLOCKED, _PREFIX)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql_server(**settings: str) -> Iterator[str]:
    """Start a server with optional settings; yields the SQLAlchemy URL of its `postgres` database."""
    binaries = _binaries()
    memory = None if settings.get("fsync") == "on" else _memory()  # a benchmark measures the disk as well
    with _new_folder(memory) as folder, _running(binaries, folder, (_LITTLE_WAL if memory else {}) | settings) as port:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"


@contextmanager
def _running(binaries: Path, folder: Path, settings: dict[str, str]) -> Iterator[int]:
    """A server with its data in the folder; its port."""
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, cwd="/", stdout=subprocess.DEVNULL)

    data, port = folder / "data", free_port()
    run(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    for name, value in (_SETTINGS | settings).items():
        options += f" -c {name}={value}"
    pg_ctl = (str(binaries / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"))
    run(*pg_ctl, "-w", "-o", options, "start")
    try:
        yield port
    finally:
        run(*pg_ctl, "-w", "-m", "immediate", "stop")
