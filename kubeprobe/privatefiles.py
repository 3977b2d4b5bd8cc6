"""Folders and files that only their owner may read: credentials, stored outcomes, sockets' passwords."""

import os
import stat
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = 0o077


def make_private_folder(path: Path) -> None:
    """Create a folder, with its parents, unless it exists; one that exists may be meant for others too (`/tmp`)."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def take_from_others(path: Path) -> None:
    """Remove the rights of group and others on a file or folder of this user."""
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def write_private(path: Path, text: str) -> None:
    """Replace a file's text at once: a reader sees the old text or the new, and other users neither."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "w") as file:
        file.write(text)
    draft.replace(path)


def create_private(path: Path) -> None:
    """Create an empty file unless it exists, for a library that would create it with the umask's mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
