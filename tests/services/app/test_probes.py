"""Registering a probe: what takes long or fails comes before the transaction."""

from pathlib import Path

import pytest
from sqlalchemy import event

from kubeprobe.app import Installation, probes
from kubeprobe.authoring import new_probe
from kubeprobe.catalog import known_names
from kubeprobe.errors import InvalidInputError
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store


@pytest.fixture
def installation(store: Store, tmp_path: Path) -> Installation:
    return Installation(Settings(data_dir=tmp_path / "data"), store, Queue.connect("redis://127.0.0.1:1/0"))


def test_a_probe_that_does_not_compile_is_not_registered(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InvalidInputError("cannot be compiled")

    monkeypatch.setattr(probes, "prepare_folder", fail)
    with pytest.raises(InvalidInputError, match="cannot be compiled"):
        probes.register_probe(installation, new_probe("shop", tmp_path, "python"))
    assert "shop" not in installation.read(known_names)["ProbeCase"]


def test_a_probe_is_compiled_outside_of_a_transaction(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_transactions: list[int] = []
    depth = 0

    def begin(_: object) -> None:
        nonlocal depth
        depth += 1

    def end(_: object) -> None:
        nonlocal depth
        depth -= 1

    for name, count in (("begin", begin), ("commit", end), ("rollback", end)):
        event.listen(installation.store.engine, name, count)
    monkeypatch.setattr(probes, "prepare_folder", lambda *_: open_transactions.append(depth))
    probes.register_probe(installation, new_probe("shop", tmp_path, "python"))
    assert open_transactions == [0]
    assert "shop" in installation.read(known_names)["ProbeCase"]
