"""The lock of a mirror: one holder at a time, including a git whose worker was killed."""

import multiprocessing
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from kubeprobe.sources import GitError, git
from kubeprobe.sources import mirror as mirror_module
from kubeprobe.sources.git import git_runner
from kubeprobe.sources.mirror import Mirror
from tests.harness.repository import Repository
from tests.harness.wait import until
from tests.services.sources.given import CASE, TEMPLATE, World


def test_git_holds_the_lock_after_its_worker_was_killed(tmp_path: Path) -> None:
    mirror, begun, goes_on = Mirror(tmp_path / "sources", "team"), tmp_path / "begun", tmp_path / "goes-on"
    os.mkfifo(goes_on)
    worker = multiprocessing.get_context("spawn").Process(target=_fetch, args=(mirror, begun, goes_on))
    worker.start()
    until("git to start", begun.exists, within_s=120)
    worker.kill()
    worker.join()

    mirror.delete_if_unlocked()
    assert mirror.path.exists(), "it is locked"
    goes_on.write_text("enough")
    until("git to exit", lambda: mirror.delete_if_unlocked() or not mirror.path.exists())


def test_a_lock_that_is_not_released_is_an_error_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "LOCK_TIMEOUT_S", 0.3)
    first, second = (Mirror(tmp_path / "sources", "team") for _ in range(2))
    locked = r"source team is locked by another process, for more than 0\.3 s"
    with first.lock(), pytest.raises(GitError, match=locked), second.lock():
        pass
    with second.lock():
        pass


def test_a_child_process_that_outlives_a_killed_git_does_not_block_its_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "KILL_TIMEOUT_S", 0.3)
    goes_on, has_ended = tmp_path / "goes-on", threading.Event()
    os.mkfifo(goes_on)

    def end_child() -> None:
        has_ended.set()
        with suppress(OSError):  # it has not started: git was killed before
            os.close(os.open(goes_on, os.O_WRONLY | os.O_NONBLOCK))

    too_late = threading.Timer(60, end_child)
    too_late.start()
    with git_runner(tmp_path) as runner, pytest.raises(GitError, match=r"took longer than 0\.5 s and was killed"):
        runner.run("-c", f"alias.linger=!setsid timeout 60 cat {goes_on}", "linger", timeout_s=0.5)
    assert not has_ended.is_set(), "it waited for the child process"
    too_late.cancel()
    end_child()


def _fetch(mirror: Mirror, begun: Path, goes_on: Path) -> None:
    """A worker process whose git waits until the test lets it go on."""
    with mirror.lock() as lock, git_runner(mirror.folder, None, lock) as runner:
        mirror.path.mkdir()
        runner.run("-c", f"alias.linger=!touch {begun}; cat {goes_on}", "linger")


def test_a_repository_with_sha256_is_a_source_and_may_be_recreated_with_sha1(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    files = {"catalog__probes_yaml": TEMPLATE, "catalog__dns_yaml": CASE}
    other = Repository(tmp_path / "sha256")
    commit = other.push(**files)
    assert len(commit) == 64
    assert world.add(url=str(other.bare)).commit == commit
    assert (world.case().commit_id, world.poll()[0].error) == (commit, "")
    other.remove()
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha1")
    again = Repository(tmp_path / "sha1")
    again.push(**files)
    again.bare.rename(other.bare)
    assert world.poll()[0].error == ""
    assert len(world.source().seen_commit or "") == 40
