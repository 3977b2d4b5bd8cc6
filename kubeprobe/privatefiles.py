"""Folders and files that only their owner may read: credentials, stored outcomes, sockets' passwords."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = 0o077
_GROUP = 0o060


def make_private_folder(path: Path) -> None:
    """Create a folder, with its parents, unless it exists; one that exists may be meant for others too (`/tmp`)."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def own_private_folder(path: Path) -> None:
    """Create a folder, or restrict one of this user; a volume of another user keeps the mode that its owner chose."""
    make_private_folder(path)
    take_from_others(path)


def is_controlled_by_others(path: Path) -> bool:
    """Whether another user than root may have put files into a folder: its owner, or all where it is like `/tmp`.

    A folder of root that all may write without a sticky bit is a container's volume, such as an emptyDir.
    """
    found = path.stat()
    if found.st_uid not in {0, os.geteuid()}:
        return True
    is_volume = found.st_uid == 0 and not found.st_mode & stat.S_ISVTX
    return bool(found.st_mode & stat.S_IWOTH) and not is_volume


def take_from_others(path: Path) -> None:
    """Remove the rights of group and others on a file or folder of this user."""
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def restrict_database(path: Path) -> None:
    """Take from others a file that an old version created with the umask's mode.

    The rights of a group that may write it stay.
    """
    found = path.stat()
    if not found.st_mode & stat.S_IWGRP:
        take_from_others(path)
    elif found.st_uid == os.geteuid() and found.st_mode & stat.S_IRWXO:
        path.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)


def write_private(path: Path, text: str, *, keep_access: bool = False) -> None:
    """Replace a file's text: a reader sees the old text or the new one, also after a power failure.

    Of a symbolic link, the file that it leads to is replaced. With `keep_access`, owner, group and the group's rights
    stay those of the file; otherwise it is this user's alone. Raises OSError, nothing changed.
    """
    path = Path(os.path.realpath(path))
    with _draft(path, text, like=path if keep_access else None) as draft:
        draft.replace(path)
    _sync_folder(path.parent)


def create_private(path: Path) -> None:
    """Create an empty file unless it exists, for a library that would create it with the umask's mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))


def create_private_text(path: Path, text: str) -> None:
    """Create a file unless it exists: of processes that do so at the same time, all see the first one's text."""
    path = Path(os.path.realpath(path))
    with _draft(path, text) as draft, suppress(FileExistsError):
        path.hardlink_to(draft)
    _sync_folder(path.parent)


@contextmanager
def _draft(path: Path, text: str, like: Path | None = None) -> Iterator[Path]:
    """A complete file beside `path`, on the disk; removed unless it was moved."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600, and never an existing file
    draft = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            if like is not None and like.exists():
                _give_access(handle, like.stat())
            file.write(text)
            file.flush()
            os.fsync(handle)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _give_access(handle: int, wanted: os.stat_result) -> None:
    """As the service's user and group have it, if an administrator writes the file."""
    found = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (wanted.st_uid, wanted.st_gid):
        os.fchown(handle, wanted.st_uid, wanted.st_gid)
    os.fchmod(handle, FILE_MODE | (wanted.st_mode & _GROUP))


def _sync_folder(folder: Path) -> None:
    """Write the new name of a file to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
