"""The secret keys: the first one encrypts, every one decrypts. So a key is rotated while all processes run.

`kubeprobe key rotate` puts a new key before the others and encrypts everything with it; `kubeprobe key retire` removes
the old ones. Processes notice a changed key file at the next credential that they read or write; with keys in
KUBEPROBE_SECRET_KEY they are restarted, one after the other, with the longer and then with the shorter list.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cryptography.fernet import Fernet

from kubeprobe.errors import InvalidInputError
from kubeprobe.privatefiles import make_private_folder, write_private
from kubeprobe.settings import Settings

KEY_FILE = "secret.key"
SETTING = "KUBEPROBE_SECRET_KEY"
_MAKE_KEY = '`python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`'


class Keys(Protocol):
    """Where the keys are."""

    @property
    def where(self) -> str:
        """What people are shown."""

    def read(self) -> Sequence[Fernet]:
        """At least one key; the first one encrypts."""

    def add(self) -> bool:
        """Put a new key before the others; false where only the operator can."""

    def retire(self) -> bool:
        """Keep the first key only; false where only the operator can."""


class KeySetting:
    """The keys of KUBEPROBE_SECRET_KEY, separated by commas."""

    where = SETTING

    def __init__(self, text: str) -> None:
        self._keys = _parse(text.replace(",", "\n"), SETTING)

    def read(self) -> Sequence[Fernet]:
        return self._keys

    def add(self) -> bool:
        return False

    def retire(self) -> bool:
        return False


class KeyFile:
    """The keys of a file, one in each line; created with the first credential. Read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._keys: Sequence[Fernet] = ()

    @property
    def where(self) -> str:
        return str(self._path)

    def read(self) -> Sequence[Fernet]:
        """Processes that create the file at the same time all get the same key."""
        if not self._path.exists():
            with self._locked():
                if not self._path.exists():
                    self._write([Fernet.generate_key().decode()])
        found = self._path.stat()
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._version:
            self._keys = _parse(self._path.read_text(), self.where)
            self._version = version
        return self._keys

    def add(self) -> bool:
        self.read()
        with self._locked():
            self._write([Fernet.generate_key().decode(), *self._lines()])
        return True

    def retire(self) -> bool:
        with self._locked():
            self._write(self._lines()[:1])
        return True

    def _lines(self) -> list[str]:
        return self._path.read_text().split()

    def _write(self, keys: Sequence[str]) -> None:
        write_private(self._path, "".join(f"{key}\n" for key in keys))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: a key that is overwritten takes with it what it has encrypted."""
        make_private_folder(self._path.parent)
        lock = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def keys_from(settings: Settings) -> Keys:
    """Those of the setting, else of data_dir/secret.key. Raises InvalidInputError for invalid ones."""
    if settings.secret_key is not None:
        return KeySetting(settings.secret_key.get_secret_value())
    return KeyFile(settings.data_dir / KEY_FILE)


def _parse(text: str, where: str) -> Sequence[Fernet]:
    try:
        keys = [Fernet(key) for key in text.split()]
    except ValueError as error:
        raise InvalidInputError(_expected(where)) from error
    if not keys:
        raise InvalidInputError(_expected(where))
    return keys


def _expected(where: str) -> str:
    return f"{where} is not a Fernet key (32 bytes, URL-safe base64), or several: make one with {_MAKE_KEY}"
