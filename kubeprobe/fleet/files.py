"""Reading files that a user names: of limited size, and never waiting for a writer."""

import os
import stat
from pathlib import Path

from kubeprobe.errors import InvalidInputError

FILE_LIMIT = 1 << 20
"""Bytes of a certificate, key or token file."""


def expand_home(path: Path) -> Path:
    """A path with `~` and `~USER` replaced. Raises InvalidInputError if there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise InvalidInputError(f"{path}: there is no such user on this machine; expected a path") from None


def read_regular_file(path: Path, limit: int = FILE_LIMIT) -> bytes:
    """The content of a regular file. Raises InvalidInputError, without the path.

    Opening a named pipe does not wait. A file on a network file system may still block the calling thread.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise InvalidInputError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidInputError("cannot be read: it is not a regular file")
        return read_limited(handle, limit)
    finally:
        os.close(handle)


def read_limited(handle: int, limit: int) -> bytes:
    """The rest of an open file. Raises InvalidInputError if it is longer than `limit` bytes, or cannot be read."""
    found = bytearray()
    try:
        while chunk := os.read(handle, 1 << 16):
            found += chunk
            if len(found) > limit:
                raise InvalidInputError(f"is too large; expected at most {limit} bytes")
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror or error}") from None
    return bytes(found)
