"""The mirror of a source's repository: a bare clone of its branch's newest commit, in data_dir/sources.

It is only a cache: any process can recreate it, and one that a killed git left broken is recreated. Next: `tree`
exports the catalog's files from a commit.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from kubeprobe.privatefiles import own_private_folder
from kubeprobe.sources.git import (
    FETCH_TIMEOUT_S,
    MAX_OUTPUT_BYTES,
    DiskLimit,
    GitDiskError,
    GitError,
    GitRunner,
    GitTimeoutError,
    Remote,
    folder_size,
    git_runner,
)

HEAD = "refs/kubeprobe/head"
LOCK_TIMEOUT_S = 150.0
"""Longer than another process's sync takes, with two fetches; with a fetch of its own within `sync.CLAIM_LIFETIME`."""
LOCK_POLL_S = 0.1
MAX_NAMES_SHOWN = 8
_NO_BRANCH = "couldn't find remote ref"
_LOCKED = re.compile(r"\.lock': File exists")
_OTHER_FORMAT = re.compile(r"mismatched algorithms: client \w+; server (sha1|sha256)\b")
MAX_FETCH_BYTES = 1_000_000_000
"""Of one fetch: the newest commit of a branch with all its files."""
MAX_PACKS = 50
"""Each fetch of something new adds a pack. With more, the mirror is recreated, so that it does not grow for ever."""


class MirrorLockedError(GitError):
    """Another process uses the mirror."""


@dataclass(frozen=True)
class Mirror:
    """A source's mirror; one process at a time uses it, under its lock."""

    folder: Path
    """The folder of all mirrors."""
    name: str

    @property
    def path(self) -> Path:
        """The bare repository."""
        return self.folder / f"{self.name}.git"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Lock the mirror against other processes; yields the lock's file descriptor.

        Raises MirrorLockedError if it stays locked for LOCK_TIMEOUT_S, so that a stopped process, or the git of a
        killed one, does not block others for ever.
        """
        with self._locked(LOCK_TIMEOUT_S) as lock:
            yield lock.fileno()

    def delete_if_unlocked(self) -> None:
        """Delete the mirror, unless it is locked."""
        with suppress(MirrorLockedError), self._locked(0):
            self.delete()

    def fetch(self, remote: Remote, branch: str, lock: int) -> "Fetched":
        """Fetch the newest commit of a branch. Raises GitError.

        `lock` is what `lock()` yields. Git inherits it: if this process is killed, its git holds it until it exits.
        """
        with git_runner(self.folder, remote, lock) as runner:
            try:
                self._fetch(runner, remote, branch)
            except (GitTimeoutError, GitDiskError):
                raise  # a second try would take as long, or as much
            except GitError as error:
                if _NO_BRANCH in str(error):
                    raise GitError(_no_such_branch(runner, remote, branch)) from None
                other_format = _OTHER_FORMAT.search(str(error))
                was_locked = _LOCKED.search(str(error))  # by a git that was killed
                if not self.path.exists() or not (other_format or was_locked or not self._is_intact(runner)):
                    raise
                self._delete_repository()
                self._fetch(runner, remote, branch, other_format[1] if other_format else "sha1")
            commit = self.git(runner, "rev-parse", "--verify", f"{HEAD}^{{commit}}").decode().strip()
            return Fetched(commit, runner.known_hosts.read_text())

    def git(self, runner: GitRunner, *arguments: str, stdin: bytes = b"", max_bytes: int = MAX_OUTPUT_BYTES) -> bytes:
        """Run a git command on the mirror."""
        return runner.run(f"--git-dir={self.path}", *arguments, stdin=stdin, max_bytes=max_bytes)

    def delete(self) -> None:
        """Delete the mirror and its lock file. The caller must hold the lock."""
        self._delete_repository()
        self._lock_file.unlink(missing_ok=True)

    def _delete_repository(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _lock_file(self) -> Path:
        return self.folder / f"{self.name}.lock"

    @contextmanager
    def _locked(self, timeout_s: float) -> Iterator[IO[str]]:
        own_private_folder(self.folder)
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock_file.open("w") as lock:
                if not _try_lock(lock):
                    if time.monotonic() >= deadline:
                        message = f"the mirror of source {self.name} is locked by another process"
                        raise MirrorLockedError(f"{message}, for more than {timeout_s:g} s; try again later")
                elif _is_file_at(lock, self._lock_file):  # else it was deleted meanwhile, and replaced
                    yield lock
                    return
            time.sleep(LOCK_POLL_S)

    def _fetch(self, runner: GitRunner, remote: Remote, branch: str, object_format: str = "sha1") -> None:
        size = folder_size(self.path)
        if size > 2 * MAX_FETCH_BYTES or len(list(self.path.glob("objects/pack/*.pack"))) > MAX_PACKS:
            self._delete_repository()
            size = 0
        if not (self.path / "HEAD").exists():
            self._delete_repository()
            form = ("--bare", "--template=", f"--object-format={object_format}")
            runner.run("init", "--quiet", *form, str(self.path))
        own_private_folder(self.path)
        options = ("--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--force")
        refspec = f"+refs/heads/{branch}:{HEAD}"
        fetch = (f"--git-dir={self.path}", "fetch", *options, "--", remote.address.url, refspec)
        try:
            runner.run(*fetch, timeout_s=FETCH_TIMEOUT_S, disk=DiskLimit(self.path, size + MAX_FETCH_BYTES))
        except GitDiskError:
            self._delete_repository()
            message = f"branch {branch!r} of {remote.address.shown} takes more than {MAX_FETCH_BYTES:,} bytes"
            raise GitDiskError(f"{message} to fetch; keep the catalog in a repository of its own") from None
        except GitTimeoutError:
            self._delete_temporary_files()
            message = f"branch {branch!r} of {remote.address.shown} could not be fetched within {FETCH_TIMEOUT_S:g} s"
            raise GitTimeoutError(f"{message}: it is too large, or its server too slow") from None

    def _delete_temporary_files(self) -> None:
        """Delete the partial files of a killed git; what was fetched earlier is complete."""
        for pattern in ("*.lock", "tmp_*"):
            for file in self.path.rglob(pattern):
                file.unlink(missing_ok=True)

    def _is_intact(self, runner: GitRunner) -> bool:
        """Whether the mirror has neither a lock of a killed git nor damage, so that a failed fetch is the remote's."""
        if next(self.path.rglob("*.lock"), None) is not None:
            return False
        try:
            self.git(runner, "fsck", "--connectivity-only", "--no-dangling")
        except GitError:
            return False
        return True


def _no_such_branch(runner: GitRunner, remote: Remote, branch: str) -> str:
    """The error message, with the branches that exist."""
    listed = runner.run("ls-remote", "--quiet", "--heads", "--", remote.address.url).decode(errors="replace")
    known = [line.partition("refs/heads/")[2] for line in listed.splitlines()]
    return f"there is no branch {branch!r} in {remote.address.shown}.{list_known(branch, known)}"


def list_known(name: str, known: Sequence[str]) -> str:
    """Sentences to append to an error message: the known names, in the given order, and the nearest."""
    if not known:
        return " There are none yet."
    shown = ", ".join(known[:MAX_NAMES_SHOWN]) + (", ..." if len(known) > MAX_NAMES_SHOWN else "")
    close = get_close_matches(name, known, n=1)
    return f" Known: {shown}." + (f" Did you mean {close[0]!r}?" if close else "")


def mirrors(folder: Path) -> Iterator[Mirror]:
    """All mirrors in a folder, complete or not."""
    for lock in folder.glob("*.lock"):
        yield Mirror(folder, lock.stem)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_at(opened: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Fetched:
    """The result of a fetch."""

    commit: str
    known_hosts: str
    """The server's host key as a line of known_hosts; for ssh only."""
