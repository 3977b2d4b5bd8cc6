"""The lock of a mirror: one holder at a time, including a git whose worker was killed."""

import multiprocessing
import os
from pathlib import Path

from kubeprobe.sources.git import git_runner
from kubeprobe.sources.mirror import Mirror
from tests.harness.wait import until


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


def _fetch(mirror: Mirror, begun: Path, goes_on: Path) -> None:
    """A worker process whose git waits until the test lets it go on."""
    with mirror.lock() as lock, git_runner(mirror.folder, None, lock) as runner:
        mirror.path.mkdir()
        runner.run("-c", f"alias.linger=!touch {begun}; cat {goes_on}", "linger")
