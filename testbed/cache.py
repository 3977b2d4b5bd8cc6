"""Results of slow builds, kept between clones of the repository. Used by `binaries` and `images`.

An entry's name contains a hash of all that went into it. It is built in a directory of its own and renamed
into place when complete, so a build that is interrupted leaves no entry, and two at once build it once.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from testbed.instance import cache_directory, file_lock

# Names of directories whose content makes no difference to what is built.
IGNORED = frozenset({"__pycache__", "tests"})
_reserved: dict[str, ExitStack] = {}
"""Locks that this process holds on entries that it is going to make, by name."""


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
    """All files at or below a path that a build's result depends on."""
    if path.is_file():
        return [path]
    files = (file for file in path.rglob("*") if file.is_file())
    return (file for file in files if not IGNORED.intersection(file.relative_to(path).parts))


def entry(name: str, build: Callable[[Path], None], announce: str = "") -> Path:
    """Return the cached directory `name`; when it is missing, make it by calling `build(directory)`.

    `announce` is printed when there is something to build.
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
        for stale in cache.glob(f"{name}.tmp*"):  # of a build that was interrupted: we hold its lock
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
    """Promise to make these entries, one after the other: whoever needs one from now on waits until it is there.

    One that cannot be made is to be released (`release`), or others would wait for as long as this process lives.
    """
    cache = cache_directory()
    for name in names:
        if not (cache / name).is_dir() and name not in _reserved:
            _reserved[name] = ExitStack()
            _reserved[name].enter_context(file_lock(cache / f"{name}.lock"))


def release(names: Iterable[str]) -> None:
    """Take the promise back for those of these entries that were not made."""
    for name in names:
        if (held := _reserved.pop(name, None)) is not None:
            held.close()
