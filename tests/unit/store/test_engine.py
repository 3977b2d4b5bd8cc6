import stat
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from kubeprobe.store import open_store


def test_a_database_error_contains_no_parameter_values(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    try:
        with pytest.raises(OperationalError) as caught, store.reading() as session:
            session.execute(text("INSERT INTO nowhere VALUES (:token)"), {"token": "s3cret"})
    finally:
        store.close()
    assert "nowhere" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o666, 0o660), (0o660, 0o660), (0o600, 0o600)])
def test_a_database_that_others_can_read_is_restricted_when_it_is_opened(
    tmp_path: Path, before: int, after: int
) -> None:
    names = ("kubeprobe.db", "kubeprobe.db-wal")
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / name).chmod(before)
    open_store(f"sqlite:///{tmp_path / names[0]}").close()
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names} == {after}
