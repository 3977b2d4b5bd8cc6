"""What can go wrong while the secret key is rotated: concurrent commands, lost files, other users, full disks."""

import errno
import os
import stat
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlmodel import select, update

from kubeprobe import app, privatefiles
from kubeprobe.app import Installation
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import keys
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.clusters import ClusterRegistration
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store

CONNECTION = Connection(ConnectionKind.KUBECONFIG, {"token": "s3cret"})


@pytest.fixture
def installation(store: Store, tmp_path: Path) -> Installation:
    found = Installation(Settings(data_dir=tmp_path / "data"), store, Queue.connect("redis://127.0.0.1:1/0"))
    app.add_cluster(found, ClusterRegistration("prod-1"), CONNECTION)
    return found


@pytest.fixture
def key_file(installation: Installation) -> Path:
    return installation.settings.data_dir / keys.KEY_FILE


def cluster(installation: Installation) -> Cluster:
    with installation.store.reading() as session:
        return session.exec(select(Cluster)).one()


def opened(installation: Installation) -> Connection:
    """As a process that has just started decrypts it."""
    return Cipher.from_settings(installation.settings).open(cluster(installation).connection)


def once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, first: Callable[[], object]) -> None:
    """Does something just before the first call of a function."""
    original = getattr(owner, name)

    def patched(*args: object, **options: object) -> object:
        monkeypatch.setattr(owner, name, original)
        first()
        return original(*args, **options)

    monkeypatch.setattr(owner, name, patched)


def test_a_key_that_is_added_while_old_ones_are_retired_loses_no_credential(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.rotate_key(installation)
    other = Cipher.from_settings(installation.settings)
    once(monkeypatch, keys.KeyFile, "retire", other.keys.add)
    app.retire_keys(installation)
    assert opened(installation) == CONNECTION
    app.rotate_key(installation)
    app.retire_keys(installation)
    assert opened(installation) == CONNECTION


def test_what_is_stored_with_an_old_key_while_it_is_retired_is_not_lost(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = installation.cipher.seal(CONNECTION)  # encrypted in a transaction that commits later
    app.rotate_key(installation)

    def commit() -> None:
        with installation.store.writing() as session:
            session.execute(update(Cluster).values(connection=late))

    once(monkeypatch, keys.KeyFile, "retire", commit)
    app.retire_keys(installation)
    assert opened(installation) == CONNECTION


def test_a_value_that_changes_while_it_is_encrypted_again_is_not_overwritten(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Connection(ConnectionKind.KUBECONFIG, {"token": "another"})

    def change() -> None:
        app.add_cluster(installation, ClusterRegistration("prod-1"), changed, replace=True)

    once(monkeypatch, keys.Keyring, "renew", change)
    app.rotate_key(installation)
    app.retire_keys(installation)
    assert opened(installation) == changed


async def test_open_clients_go_on_with_what_the_new_key_encrypted(installation: Installation) -> None:
    clients = ClusterClients(installation.cipher)
    before = cluster(installation)
    client = await clients.get(before)
    app.rotate_key(installation)
    after = cluster(installation)
    assert after.connection != before.connection
    assert after.updated_at > before.updated_at, "collectors read it again"
    assert await clients.get(after) is client, "its watches go on"
    app.retire_keys(installation)
    with pytest.raises(ClusterError) as error:
        await client.version()
    assert "the stored connection is invalid" in str(error.value), "and not: encrypted with another key"
    await clients.close()


def test_a_linked_key_file_is_rotated_where_it_is(installation: Installation, key_file: Path, tmp_path: Path) -> None:
    elsewhere = key_file.rename(tmp_path / "shared.key")
    key_file.symlink_to(elsewhere)
    app.rotate_key(installation)
    assert key_file.is_symlink()
    assert len(elsewhere.read_text().split()) == 2
    assert opened(installation) == CONNECTION


def test_a_rotation_by_an_administrator_leaves_the_file_to_the_service(
    installation: Installation, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file.chmod(0o644)
    given: list[tuple[int, int]] = []
    owner = os.stat_result((*key_file.stat()[:4], 4711, 4712, *key_file.stat()[6:]))
    stat_of = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **o: owner if path == key_file else stat_of(path, **o))
    monkeypatch.setattr(privatefiles.os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    app.rotate_key(installation)
    monkeypatch.undo()
    assert given == [(4711, 4712)]
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o640, "the group's right stays, that of others does not"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_key_file_that_only_an_administrator_can_write_is_rotated_by_them(
    installation: Installation, key_file: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(keys, "write_private", refuse)
    with pytest.raises(InvalidInputError, match=r"has one key\. Put a new key into a line before it, and rotate again"):
        app.rotate_key(installation)
    key_file.write_text(f"{Fernet.generate_key().decode()}\r\n\n  {key_file.read_text()}  ")
    assert app.rotate_key(installation).sealed.renewed == 1
    assert app.retire_keys(installation).keys == 2, "their keys, to be removed by them"
    assert opened(installation) == CONNECTION


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_keys_as_they_were(
    installation: Installation, key_file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before, sealed = key_file.read_text(), cluster(installation).connection

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((privatefiles.os, step, fail) if step == "fsync" else (Path, step, fail)))
    with pytest.raises(InvalidInputError, match=r"cannot be written: No space left on device. Its keys are as before"):
        app.rotate_key(installation)
    assert (key_file.read_text(), cluster(installation).connection) == (before, sealed)
    assert {path.name for path in key_file.parent.iterdir()} == {keys.KEY_FILE, f".{keys.KEY_FILE}.lock"}


def test_a_rotation_reaches_the_disk_before_anything_is_encrypted_with_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace, renew = os.fsync, Path.replace, keys.Keyring.renew
    monkeypatch.setattr(privatefiles.os, "fsync", lambda handle: (steps.append("fsync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (steps.append("replace"), replace(path, to))[1])
    monkeypatch.setattr(keys.Keyring, "renew", lambda ring, sealed: (steps.append("renew"), renew(ring, sealed))[1])
    app.rotate_key(installation)
    assert steps == ["fsync", "replace", "fsync", "renew"]


@pytest.mark.parametrize("text", [None, "", "  \n", "half a k", "\xff"])
def test_a_process_keeps_its_keys_while_the_file_is_missing_or_broken(
    installation: Installation, key_file: Path, text: str | None
) -> None:
    whole = key_file.read_text()
    key_file.unlink()
    if text is not None:
        key_file.write_text(text, encoding="latin-1")
    assert installation.cipher.open(cluster(installation).connection) == CONNECTION
    app.add_cluster(installation, ClusterRegistration("prod-1"), CONNECTION, replace=True)
    assert key_file.exists() is (text is not None), "a new key would decrypt nothing"
    with pytest.raises(InvalidInputError):
        app.rotate_key(installation)
    key_file.write_text(whole)
    assert opened(installation) == CONNECTION


def test_an_interrupted_rotation_is_continued_by_the_next(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    once(monkeypatch, keys.Keyring, "renew", die)
    with pytest.raises(KeyboardInterrupt):
        app.rotate_key(installation)
    assert opened(installation) == CONNECTION
    app.rotate_key(installation)
    assert app.retire_keys(installation).keys == 1
    assert opened(installation) == CONNECTION


def test_with_keys_of_the_settings_each_process_decrypts_what_the_next_restarted_one_encrypts() -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    steps = [Cipher(text) for text in (old, f"{old},{new}", f"{new},{old}")]
    for before, after in pairwise(steps):
        assert before.open(after.seal(CONNECTION)) == CONNECTION
