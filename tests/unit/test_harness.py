"""What tests share with each other, and with those of other processes."""

from pathlib import Path

import pytest

from tests.harness import postgresql


def test_only_the_data_of_servers_whose_tests_have_ended_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever /proc lists: they may run in another container."""
    monkeypatch.setattr(postgresql, "_MEMORY", tmp_path)
    with postgresql._new_folder(tmp_path) as folder:
        folder.with_name(folder.name + "-killed").mkdir()
        postgresql._memory()
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []
