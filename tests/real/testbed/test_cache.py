"""The build cache: entries are complete or absent. Needs neither root nor a cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

from testbed import Instance, TestbedError, cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEPROBE_CACHE", str(tmp_path / "cache"))


def test_a_build_is_done_once() -> None:
    first = cache.entry("thing-1", lambda target: (target / "made").touch())

    assert (first / "made").exists()
    assert cache.entry("thing-1", lambda _: pytest.fail("built again")) == first


def test_a_build_that_failed_leaves_no_entry(tmp_path: Path) -> None:
    def half(target: Path) -> None:
        (target / "half").touch()
        raise TestbedError("the disk is full")

    with pytest.raises(TestbedError):
        cache.entry("thing-1", half)

    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing-1.lock"]


def test_a_build_removes_the_remains_of_a_killed_one(tmp_path: Path) -> None:
    stale = tmp_path / "cache" / "thing-1.tmpdead"
    stale.mkdir(parents=True)

    cache.entry("thing-1", lambda target: (target / "made").touch())

    assert not stale.exists()


def test_a_changed_or_renamed_file_changes_the_digest_and_a_test_does_not(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "tests").mkdir(parents=True)
    (source / "a").write_text("1")
    before = cache.digest(source)

    (source / "tests" / "t").write_text("1")
    assert cache.digest(source) == before
    (source / "a").write_text("2")
    changed = cache.digest(source)
    assert changed != before
    (source / "a").rename(source / "b")
    assert cache.digest(source) not in {before, changed}


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "x" * 21])
def test_an_invalid_instance_name_is_refused(name: str) -> None:
    with pytest.raises(TestbedError, match="1 to 20"):
        Instance(name)


BUILD = """
import sys
from pathlib import Path
from testbed import cache

def build(target):
    if sys.argv[1] == "no":
        sys.exit("built instead of waiting")
    (target / "made by another").touch()

print("started", flush=True)
print(sorted(path.name for path in cache.entry("thing-1", build).iterdir()))
"""


def started_build(may_build: str) -> subprocess.Popen[str]:
    """Another process that needs the entry."""
    process = subprocess.Popen([sys.executable, "-c", BUILD, may_build], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_others_wait_for_an_entry_that_is_reserved() -> None:
    cache.reserve(["thing-1"])
    with started_build(may_build="no") as other:
        cache.entry("thing-1", lambda target: (target / "made").touch())
        assert other.communicate(timeout=60)[0] == "['made']\n"
    assert other.returncode == 0


def test_others_build_an_entry_whose_reservation_was_released() -> None:
    cache.reserve(["thing-1"])
    with started_build(may_build="yes") as other:
        cache.release(["thing-1"])
        assert other.communicate(timeout=60)[0] == "['made by another']\n"
