"""The secrets of a source, from files and variables that options name."""

import os
from dataclasses import dataclass
from pathlib import Path

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.files import expand_home
from kubeprobe.sources import Secret

MAX_SECRET_BYTES = 100_000


@dataclass(frozen=True)
class SecretFiles:
    """Where a source's secrets are read from."""

    deploy_key: Path | None = None
    token_file: Path | None = None
    token_env: str | None = None
    known_hosts: Path | None = None
    webhook_secret: Path | None = None

    def read(self) -> Secret:
        """The secrets. Raises InvalidInputError, which contains none of them."""
        if self.token_file and self.token_env:
            raise InvalidInputError("the token is given twice: by --token-file and by --token-env")
        token = _read(self.token_file).strip()
        if self.token_env:
            token = os.environ.get(self.token_env, "").strip()
        if (self.token_file or self.token_env) and not token:
            where = f"${self.token_env}" if self.token_env else self.token_file
            raise InvalidInputError(f"{where} holds no token")
        return Secret(
            deploy_key=_read(self.deploy_key),
            token=token,
            known_hosts=_read(self.known_hosts),
            webhook=_read(self.webhook_secret).strip(),
        )


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        with expand_home(file).open("rb") as opened:
            found = opened.read(MAX_SECRET_BYTES + 1)
        text = found.decode()
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidInputError(f"{file}: is not UTF-8 text") from None
    if len(found) > MAX_SECRET_BYTES or not text.strip():
        raise InvalidInputError(f"{file}: is {'empty' if not text.strip() else 'too large for a secret'}")
    return text
