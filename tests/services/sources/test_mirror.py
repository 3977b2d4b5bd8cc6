"""The copy of a repository is held by one at a time, and by a git whose worker was killed."""

import multiprocessing
import os
from pathlib import Path

from kubeprobe.sources.git import calling
from kubeprobe.sources.mirror import Mirror
from tests.harness.wait import until


def test_a_git_whose_worker_was_killed_holds_the_copy_until_it_ends(tmp_path: Path) -> None:
    mirror, begun, goes_on = Mirror(tmp_path / "sources", "team"), tmp_path / "begun", tmp_path / "goes-on"
    os.mkfifo(goes_on)
    worker = multiprocessing.get_context("spawn").Process(target=_fetch, args=(mirror, begun, goes_on))
    worker.start()
    until("its git to begin", begun.exists, within_s=120)
    worker.kill()
    worker.join()

    mirror.forget_unheld()
    assert mirror.path.exists(), "somebody holds it"
    goes_on.write_text("enough")
    until("its git to end", lambda: mirror.forget_unheld() or not mirror.path.exists())


def _fetch(mirror: Mirror, begun: Path, goes_on: Path) -> None:
    """A worker, in a process of its own, whose git takes as long as somebody wants."""
    with mirror.held() as lock, calling(mirror.folder, None, lock) as call:
        mirror.path.mkdir()
        call.git("-c", f"alias.linger=!touch {begun}; cat {goes_on}", "linger")
