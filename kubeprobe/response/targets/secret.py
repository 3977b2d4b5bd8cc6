"""Reads secrets from the places that the catalog names, and redacts them in what is logged and stored."""

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kubeprobe.catalog.model.route import SecretSource
from kubeprobe.response.targets.errors import TemporaryTargetError

MAX_SECRET = 65_536
_SHORTEST = 4
"""Characters: a shorter part of an address is not a secret, and redacting it would hide ordinary words."""


def read_secret(source: SecretSource) -> str:
    """The secret, without surrounding white space.

    Raises TemporaryTargetError when it is missing: it may be added while the notification is retried.
    """
    if source.env is not None:
        found, where = os.environ.get(source.env, ""), f"environment variable {source.env}"
    else:
        assert source.file is not None
        where = f"file {source.file}"
        try:
            found = _read(Path(source.file))
        except (OSError, ValueError) as error:
            reason = type(error).__name__ if isinstance(error, OSError | UnicodeDecodeError) else str(error)
            raise TemporaryTargetError(
                f"the secret in {where} cannot be read: {reason}; make it readable for the responder"
            ) from error
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise TemporaryTargetError(f"{where} is not UTF-8; set it again")
    if not found.strip():
        raise TemporaryTargetError(f"{where} is empty or not set; set it for the responder")
    return found.strip()


def _read(path: Path) -> str:
    """Not from a pipe or a device, which could block or never end. Raises OSError and ValueError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        found = file.read(MAX_SECRET + 1)
    if len(found) > MAX_SECRET:
        raise ValueError(f"it has more than {MAX_SECRET} bytes")
    return found.decode("utf-8")


def redact(text: str, *secrets: str) -> str:
    """The text with `***` for these addresses and secrets, and for every part of them that could be a secret."""
    parts = {part for secret in secrets for part in _parts(secret)}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def _parts(secret: str) -> set[str]:
    """A secret, and for an address every part of it except the scheme.

    The host of an http address is not a secret; in other schemes it may be a token (Apprise: `tgram://token`).
    """
    if "://" not in secret:
        return {secret} if secret else set()
    rest = secret.split("://", 1)[1]
    parts = set(re.split(r"[/?&=@:#,+]", rest))
    if secret.startswith(("http://", "https://")):
        parts -= set((urlsplit(secret).netloc.rpartition("@")[2]).split(":"))
    parts |= {unquote(part) for part in parts}
    return {secret, rest, *(part for part in parts if len(part) >= _SHORTEST)}
