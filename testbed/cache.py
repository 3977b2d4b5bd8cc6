"""Results of slow builds, kept between clones of the repository. Used by `binaries` and `images`.

An entry's name contains a hash of all its inputs. It is built in a temporary directory and renamed when
complete, so an interrupted build leaves no entry; of two processes, only one builds it.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from testbed.instance import cache_directory, file_lock

# Directories that are not inputs of any build.
IGNORED = frozenset({"__pycache__", "tests"})
_reserved: dict[str, ExitStack] = {}
"""Locks that this process holds on entries that it is going to build, by name."""


def digest(*parts: str | bytes | Path) -> str:
    """Hash texts, and files or directories by their names and content, to 16 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(files_below(part)):
                total.update(f"\0{file.relative_to(part)}\0".encode())
                total.update(hashlib.sha256(file.read_bytes()).digest())
        else:
            total.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return total.hexdigest()[:16]


def files_below(path: Path) -> Iterable[Path]:
    """All files at or below a path, without ignored directories."""
    if path.is_file():
        return [path]
    files = (file for file in path.rglob("*") if file.is_file())
    return (file for file in files if not IGNORED.intersection(file.relative_to(path).parts))


def entry(name: str, build: Callable[[Path], None], announce: str = "") -> Path:
    """Return the cached directory `name`; if it is missing, create it by calling `build(directory)`.

    `announce` is printed before a build.
    """
    cache = cache_directory()
    final = cache / name
    if final.is_dir():
        return final
    with _reserved.pop(name, None) or file_lock(cache / f"{name}.lock"):
        if final.is_dir():
            return final
        if announce:
            print(announce, flush=True)
        for stale in cache.glob(f"{name}.tmp*"):  # of an interrupted build: its lock is free
            shutil.rmtree(stale)
        work = Path(tempfile.mkdtemp(prefix=f"{name}.tmp", dir=cache))
        try:
            work.chmod(0o755)
            build(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def reserve(names: Iterable[str]) -> None:
    """Lock these entries, to build them one after the other; other processes that need one wait.

    An entry that cannot be built must be released (`release`), or others wait until this process ends.
    """
    cache = cache_directory()
    for name in names:
        if not (cache / name).is_dir() and name not in _reserved:
            _reserved[name] = ExitStack()
            _reserved[name].enter_context(file_lock(cache / f"{name}.lock"))


def release(names: Iterable[str]) -> None:
    """Unlock those of these entries that were not built."""
    for name in names:
        if (held := _reserved.pop(name, None)) is not None:
            held.close()
