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
