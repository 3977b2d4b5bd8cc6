"""Reading secrets where the catalog says they are, and keeping them out of what is logged and stored."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kubeprobe.catalog.model.route import SecretSource
from kubeprobe.response.targets.errors import TemporaryTargetError

_SHORTEST = 4
"""A shorter piece of an address is no secret, and would blot out ordinary words."""


def read_secret(source: SecretSource) -> str:
    """The secret, without white space around it.

    Raises TemporaryTargetError when it is missing: it may be put there while the message waits.
    """
    if source.env is not None:
        found, where = os.environ.get(source.env, ""), f"environment variable {source.env}"
    else:
        assert source.file is not None
        where = f"file {source.file}"
        try:
            found = Path(source.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TemporaryTargetError(
                f"the secret in {where} cannot be read: {type(error).__name__}; make it readable for the responder"
            ) from error
    if not found.strip():
        raise TemporaryTargetError(f"{where} holds no secret; set it where the responder runs")
    return found.strip()


def redact(text: str, *secrets: str) -> str:
    """The text without these addresses and secrets, nor any piece of them that could be one."""
    pieces = {piece for secret in secrets for piece in _pieces(secret)}
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "***")
    return text


def _pieces(secret: str) -> set[str]:
    """A secret, and for an address every piece of it but the scheme.

    The host of an http address is no secret; elsewhere a token may stand in its place (Apprise: `tgram://token`).
    """
    if "://" not in secret:
        return {secret} if secret else set()
    rest = secret.split("://", 1)[1]
    pieces = set(re.split(r"[/?&=@:#,+]", rest))
    if secret.startswith(("http://", "https://")):
        pieces -= set((urlsplit(secret).netloc.rpartition("@")[2]).split(":"))
    pieces |= {unquote(piece) for piece in pieces}
    return {secret, rest, *(piece for piece in pieces if len(piece) >= _SHORTEST)}
