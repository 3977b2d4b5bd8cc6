"""The secret keys: the first one encrypts, every one decrypts. So a key is rotated while all processes run.

`kubeprobe key rotate` puts a new key before the others and encrypts everything with it; `kubeprobe key retire` removes
the old ones. Processes read a key file again with each credential. With keys in KUBEPROBE_SECRET_KEY they are restarted
one after the other, first with OLD,NEW, so that all can decrypt what the first one encrypts that has NEW,OLD.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from kubeprobe.errors import InvalidInputError
from kubeprobe.privatefiles import create_private_text, make_private_folder, write_private
from kubeprobe.settings import Settings

log = structlog.get_logger(__name__)

KEY_FILE = "secret.key"
SETTING = "KUBEPROBE_SECRET_KEY"
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}
"""A file that is mounted, or belongs to an administrator."""
_MAKE_KEY = '`python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`'


@dataclass(frozen=True)
class Keyring:
    """The keys at one time, the first one first; at least one."""

    texts: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def first(self) -> str:
        """The key that encrypts."""
        return self.texts[0]

    def encrypt(self, plain: bytes) -> bytes:
        """With the first key."""
        return Fernet(self.first).encrypt(plain)

    def decrypt(self, sealed: bytes) -> bytes:
        """With whichever key decrypts it. Raises InvalidToken."""
        return MultiFernet([Fernet(text) for text in self.texts]).decrypt(sealed)

    def renew(self, sealed: bytes) -> bytes | None:
        """The same, encrypted with the first key; None if it is already. Raises InvalidToken if no key decrypts."""
        try:
            Fernet(self.first).decrypt(sealed)
        except InvalidToken:
            return self.encrypt(self.decrypt(sealed))
        return None

    def with_older(self, others: "Keyring") -> "Keyring":
        """With the keys of another time too, which only decrypt."""
        return Keyring((*self.texts, *others.texts))


class Keys(Protocol):
    """Where the keys are."""

    @property
    def where(self) -> str:
        """What people are shown."""

    @property
    def how_to_add(self) -> str:
        """What an operator does where `add` cannot: a sentence."""

    def read(self) -> Keyring:
        """The keys now. Raises InvalidInputError for invalid or unreadable ones."""

    def add(self) -> bool:
        """Put a new key before the others; false where only the operator can."""

    def retire(self, first: str) -> bool:
        """Remove the keys after `first`, which may not be the first any more; false where only the operator can."""


class KeySetting:
    """The keys of KUBEPROBE_SECRET_KEY, separated by commas."""

    where = SETTING
    how_to_add = (
        "Set it to OLD,NEW for every process and restart them one after the other; then likewise to NEW,OLD; "
        "and rotate again."
    )

    def __init__(self, text: str) -> None:
        self._keys = _parse(text.replace(",", "\n"), SETTING)

    def read(self) -> Keyring:
        return self._keys

    def add(self) -> bool:
        return False

    def retire(self, first: str) -> bool:  # noqa: ARG002 - of the protocol
        return False


class KeyFile:
    """The keys of a file, one in each line; created at the first start. Read at each use.

    A process that has read it keeps its keys while the file is missing or unusable, and never creates it again: a new
    key would decrypt nothing.
    """

    how_to_add = "Put a new key into a line before it, and rotate again."

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[str, Keyring] | None = None
        self._is_unusable = False

    @property
    def where(self) -> str:
        return str(self._path)

    def read(self) -> Keyring:
        """Processes that create the file at the same time all get the same key."""
        try:
            if self._last is None and not self._path.exists():
                make_private_folder(self._path.parent)
                create_private_text(self._path, f"{Fernet.generate_key().decode()}\n")
            text = self._path.read_text()
            if self._last is None or self._last[0] != text:
                self._last = text, _parse(text, self.where)  # one assignment: threads share this
        except (OSError, UnicodeDecodeError, InvalidInputError) as error:
            return self._fall_back(error)
        self._is_unusable = False
        return self._last[1]

    def _fall_back(self, error: Exception) -> Keyring:
        reason = (
            str(error) if isinstance(error, InvalidInputError) else f"{self.where} cannot be read: {_reason(error)}"
        )
        if self._last is None:
            raise InvalidInputError(reason) from error
        if not self._is_unusable:
            log.error("secret key file unusable, keys in memory used", file=self.where, error=reason)
        self._is_unusable = True
        return self._last[1]

    def add(self) -> bool:
        self.read()
        return self._change(lambda texts: [Fernet.generate_key().decode(), *texts])

    def retire(self, first: str) -> bool:
        return self._change(lambda texts: texts[: texts.index(first) + 1] if first in texts else texts)

    def _change(self, change: Callable[[Sequence[str]], Sequence[str]]) -> bool:
        try:
            with self._locked():
                texts = _parse(self._path.read_text(), self.where).texts
                write_private(self._path, "".join(f"{text}\n" for text in change(texts)), keep_access=True)
        except UnicodeDecodeError as error:
            raise InvalidInputError(_expected(self.where)) from error
        except OSError as error:
            if error.errno in _NOT_OURS:
                return False
            message = f"{self.where} cannot be written: {_reason(error)}. Its keys are as before."
            raise InvalidInputError(message) from error
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: a key that is overwritten takes with it what it has encrypted."""
        real = Path(os.path.realpath(self._path))
        with real.with_name(f".{real.name}.lock").open("a") as lock:  # writable, as locks on NFS require
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def keys_from(settings: Settings) -> Keys:
    """Those of the setting, else of data_dir/secret.key. Raises InvalidInputError for invalid ones."""
    if settings.secret_key is not None:
        return KeySetting(settings.secret_key.get_secret_value())
    return KeyFile(settings.data_dir / KEY_FILE)


def _parse(text: str, where: str) -> Keyring:
    texts = tuple(text.split())
    try:
        for each in texts:
            Fernet(each)
    except ValueError as error:
        raise InvalidInputError(_expected(where)) from error
    if not texts:
        raise InvalidInputError(_expected(where))
    return Keyring(texts)


def _expected(where: str) -> str:
    return f"{where} is not a Fernet key (32 bytes, URL-safe base64), or several: make one with {_MAKE_KEY}"


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
