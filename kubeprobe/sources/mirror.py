"""What was fetched of a source's repository: a bare copy of its branch's newest commit, in data_dir/sources.

A cache and no more: any process can make it anew, and one that a killed git left broken is made anew. Next: `tree`
takes the catalog's files out of a commit.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from kubeprobe.sources.git import FETCH_WITHIN_S, Call, GitError, GitTimeoutError, Remote, calling, make_private

HEAD = "refs/kubeprobe/head"
MOST_OFFERED = 8
_NO_BRANCH = "couldn't find remote ref"
_LOCKED = re.compile(r"\.lock': File exists")
MOST_PACKS = 50
"""Each fetch that brings something adds one; then the copy is made anew, so that it does not grow for ever."""


@dataclass(frozen=True)
class Mirror:
    """A source's copy; one process at a time holds it."""

    folder: Path
    """Where those of all sources are."""
    name: str

    @property
    def path(self) -> Path:
        """The bare repository."""
        return self.folder / f"{self.name}.git"

    @contextmanager
    def held(self) -> Iterator[int]:
        """Keep others off, as long as it takes; yields the lock's descriptor."""
        with self._locked(fcntl.LOCK_EX) as lock:
            yield lock.fileno()

    def forget_unheld(self) -> None:
        """Leave nothing of it, unless somebody holds it."""
        with suppress(BlockingIOError), self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            self.forget()

    def fetch(self, remote: Remote, branch: str, lock: int) -> "Fetched":
        """The newest commit of a branch; raises GitError.

        `lock` is of `held`. Git has it too: when this process is killed, its git holds the copy until it ends.
        """
        with calling(self.folder, remote, lock) as call:
            try:
                self._fetch(call, remote, branch)
            except GitTimeoutError:
                raise  # again would take as long
            except GitError as error:
                if _NO_BRANCH in str(error):
                    raise GitError(_branches(call, remote, branch)) from None
                was_locked = _LOCKED.search(str(error))  # by a git that was killed
                if not self.path.exists() or (not was_locked and self._is_sound(call)):
                    raise
                self.remove()
                self._fetch(call, remote, branch)
            commit = self.git(call, "rev-parse", "--verify", f"{HEAD}^{{commit}}").decode().strip()
            return Fetched(commit, call.known_hosts.read_text())

    def git(self, call: Call, *arguments: str, typed: bytes | None = None) -> bytes:
        """Ask the copy something."""
        return call.git(f"--git-dir={self.path}", *arguments, typed=typed)

    def remove(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.path, ignore_errors=True)

    def forget(self) -> None:
        """Leave nothing of it. It must be held; whoever waits for it makes it anew."""
        self.remove()
        self._lock.unlink(missing_ok=True)

    @property
    def _lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    @contextmanager
    def _locked(self, how: int) -> Iterator[IO[str]]:
        make_private(self.folder)
        while True:
            with self._lock.open("w") as lock:
                fcntl.flock(lock, how)
                if not _is_at(lock, self._lock):
                    continue  # it was forgotten meanwhile, and another file is the lock now
                yield lock
                return

    def _fetch(self, call: Call, remote: Remote, branch: str) -> None:
        if len(list(self.path.glob("objects/pack/*.pack"))) > MOST_PACKS:
            self.remove()
        if not (self.path / "HEAD").exists():
            self.remove()
            call.git("init", "--quiet", "--bare", "--template=", str(self.path))
        make_private(self.path)
        options = ("--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--force")
        wanted = f"+refs/heads/{branch}:{HEAD}"
        fetch = (f"--git-dir={self.path}", "fetch", *options, "--", remote.address.url, wanted)
        try:
            call.git(*fetch, within_s=FETCH_WITHIN_S)
        except GitTimeoutError:
            self._clear()
            told = f"branch {branch!r} of {remote.address.shown} is too large to fetch within {FETCH_WITHIN_S:g} s"
            raise GitTimeoutError(f"{told}, or its server too slow; expected a branch of small files") from None

    def _clear(self) -> None:
        """Remove what a git that was ended leaves half-done; what it had fetched before is whole."""
        for pattern in ("*.lock", "tmp_*"):
            for left in self.path.rglob(pattern):
                left.unlink(missing_ok=True)

    def _is_sound(self, call: Call) -> bool:
        """Whether a failed fetch was the remote's fault: no lock of a killed git, no damage."""
        if next(self.path.rglob("*.lock"), None) is not None:
            return False
        try:
            self.git(call, "fsck", "--connectivity-only", "--no-dangling")
        except GitError:
            return False
        return True


def _branches(call: Call, remote: Remote, branch: str) -> str:
    """That there is no such branch, and which there are."""
    listed = call.git("ls-remote", "--quiet", "--heads", "--", remote.address.url).decode(errors="replace")
    known = [line.partition("refs/heads/")[2] for line in listed.splitlines()]
    return f"there is no branch {branch!r} in {remote.address.shown}.{offered(branch, known)}"


def offered(name: str, known: Sequence[str]) -> str:
    """Sentences with what there is, in the order given, and the nearest of it; to follow an error."""
    if not known:
        return " There is none yet."
    shown = ", ".join(known[:MOST_OFFERED]) + (", ..." if len(known) > MOST_OFFERED else "")
    close = get_close_matches(name, known, n=1)
    return f" There are: {shown}." + (f" Did you mean {close[0]!r}?" if close else "")


def mirrors(folder: Path) -> Iterator[Mirror]:
    """All copies in a folder, and what was left of some."""
    for lock in folder.glob("*.lock"):
        yield Mirror(folder, lock.stem)


def _is_at(opened: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Fetched:
    """What a fetch found."""

    commit: str
    known_hosts: str
    """The host that answered, as known_hosts has it; for ssh only."""
