"""A PostgreSQL server for the tests, on a free loopback port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.need import lacking
from tests.harness.ports import free_port


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path := shutil.which("initdb"):
        return Path(on_path).parent
    if not found:
        lacking("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent


@contextmanager
def postgresql_server(**settings: str) -> Iterator[str]:
    """Start a server with optional settings; yields the SQLAlchemy URL of its `postgres` database."""
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="kubeprobe-pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, cwd="/", stdout=subprocess.DEVNULL)

    data, port = folder / "data", free_port()
    run(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    for name, value in ({"fsync": "off", "max_connections": "200"} | settings).items():
        options += f" -c {name}={value}"
    pg_ctl = (str(binaries / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"))
    run(*pg_ctl, "-w", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        run(*pg_ctl, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
