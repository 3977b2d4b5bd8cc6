"""Files and folders that only their owner may read."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeprobe import privatefiles
from kubeprobe.errors import InvalidInputError
from kubeprobe.privatefiles import create_private_text, is_controlled_by_others, write_private
from kubeprobe.settings import Settings
from kubeprobe.up import up


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize(
    ("owner", "mode", "is_controlled"),
    [
        (1000, 0o700, False),
        (1000, 0o775, False),
        (1000, 0o777, True),
        (0, 0o755, False),
        (0, 0o1777, True),
        (0, 0o777, False),
        (1001, 0o700, True),
        (1001, 0o777, True),
    ],
)
def test_a_folder_is_controlled_by_others_if_they_own_it_or_all_may_write_as_in_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, *, is_controlled: bool
) -> None:
    found = os.stat_result((stat.S_IFDIR | mode, 1, 1, 1, owner, owner, 0, 0, 0, 0))
    monkeypatch.setattr(privatefiles.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Path, "stat", lambda _: found)
    result = is_controlled_by_others(tmp_path)
    monkeypatch.undo()
    assert result is is_controlled


def test_up_refuses_a_data_directory_that_others_control(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(InvalidInputError, match=r"Other users can write to .*, and so run code as this user"):
        up(Settings(data_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_another_user_has_prepared_is_not_written_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in (f".file.{os.getpid()}.new", ".file.", ".file.new"):
        (tmp_path / name).symlink_to(victim)
    write_private(tmp_path / "file", "text")
    assert victim.read_text() == "precious"
    assert (tmp_path / "file").read_text() == "text"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_private_once_it_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o664)
    write_private(file, "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)


def test_a_file_that_exists_is_not_created_again(tmp_path: Path) -> None:
    for text in ("first", "second"):
        create_private_text(tmp_path / "file", text)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]
