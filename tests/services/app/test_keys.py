"""The secret key is rotated while processes run, and no credential is lost."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlmodel import select

from kubeprobe import app
from kubeprobe.app import Installation
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.clusters import ClusterRegistration
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind, SecretKeyError
from kubeprobe.queue import Queue
from kubeprobe.settings import Settings
from kubeprobe.sources import Secret
from kubeprobe.store import Cluster, Source, Store

CONNECTION = Connection(ConnectionKind.KUBECONFIG, {"token": "s3cret"})
SECRET = Secret(token="s3cret-of-the-source")


@pytest.fixture
def installation(store: Store, tmp_path: Path, now: datetime) -> Installation:
    """With a cluster and a source, both with credentials."""
    found = Installation(Settings(data_dir=tmp_path), store, Queue.connect("redis://127.0.0.1:1/0"))
    app.add_cluster(found, ClusterRegistration("prod-1"), CONNECTION)
    with store.writing() as session:
        sealed = SECRET.seal(found.cipher)
        session.add(
            Source(
                name="git", url="https://h/r", branch="main", every_s=60, secret=sealed, next_sync=now, created_at=now
            )
        )
    return found


def stored(store: Store) -> tuple[bytes, bytes]:
    with store.reading() as session:
        return session.exec(select(Cluster.connection)).one(), session.exec(select(Source.secret)).one() or b""


def test_a_rotation_encrypts_everything_with_a_new_key_while_other_processes_go_on(installation: Installation) -> None:
    another_process = Cipher.from_settings(installation.settings)
    before = stored(installation.store)
    rotation = app.rotate_key(installation)
    assert (rotation.keys, rotation.sealed.renewed, rotation.sealed.unreadable) == (2, 2, ())
    connection, secret = stored(installation.store)
    assert connection != before[0]
    assert another_process.open(connection) == CONNECTION
    assert Secret.open(another_process, secret) == SECRET
    assert another_process.open(before[0]) == CONNECTION, "one that a process read before"
    newest = Cipher((installation.settings.data_dir / "secret.key").read_text().split()[0])
    assert newest.open(another_process.seal(CONNECTION)) == CONNECTION, "what is stored from now on has the new key"


def test_a_retired_key_decrypts_nothing_that_is_stored(installation: Installation) -> None:
    old = Cipher((installation.settings.data_dir / "secret.key").read_text().strip())
    app.rotate_key(installation)
    assert app.retire_keys(installation).keys == 1
    connection, secret = stored(installation.store)
    with pytest.raises(SecretKeyError):
        old.open(connection)
    assert Cipher.from_settings(installation.settings).open(connection) == CONNECTION
    assert Secret.open(installation.cipher, secret) == SECRET


def test_keys_are_not_retired_while_something_cannot_be_decrypted(installation: Installation) -> None:
    app.rotate_key(installation)
    with installation.store.writing() as session:
        session.exec(select(Cluster)).one().connection = Cipher(Fernet.generate_key().decode()).seal(CONNECTION)
    with pytest.raises(app.OldKeyInUseError, match="cluster prod-1"):
        app.retire_keys(installation)
    assert len((installation.settings.data_dir / "secret.key").read_text().split()) == 2


def test_rotations_at_the_same_time_lose_no_credential(installation: Installation) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: app.rotate_key(replace(installation)), range(4)))
    app.retire_keys(installation)
    connection, secret = stored(installation.store)
    assert Cipher.from_settings(installation.settings).open(connection) == CONNECTION
    assert Secret.open(installation.cipher, secret) == SECRET


def test_keys_of_the_settings_are_rotated_by_setting_both(installation: Installation, tmp_path: Path) -> None:
    old = (tmp_path / "secret.key").read_text().strip()

    def with_keys(text: str) -> Installation:
        return replace(installation, settings=Settings(data_dir=tmp_path / "other", secret_key=SecretStr(text)))

    with pytest.raises(InvalidInputError, match=r"KUBEPROBE_SECRET_KEY has one key\. Set it to OLD,NEW"):
        app.rotate_key(with_keys(old))
    new = Fernet.generate_key().decode()
    assert app.rotate_key(with_keys(f"{new},{old}")).sealed.renewed == 2
    assert Cipher(new).open(stored(installation.store)[0]) == CONNECTION
    assert app.retire_keys(with_keys(f"{new},{old}")).where == "KUBEPROBE_SECRET_KEY"
    assert Secret.open(Cipher(new), stored(installation.store)[1]) == SECRET
