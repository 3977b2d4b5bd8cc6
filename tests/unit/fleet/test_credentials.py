"""Stored credentials: encrypted, never shown, with one key for all processes."""

import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import (
    KEY_FILE,
    Cipher,
    Connection,
    ConnectionKind,
    SecretKeyError,
    in_cluster,
    local,
)
from kubeprobe.settings import Settings

SECRET = Connection(ConnectionKind.KUBECONFIG, {"users": [{"user": {"token": "s3cret"}}]})


def test_a_connection_is_stored_encrypted_and_decrypts_to_the_same(cipher: Cipher, tmp_path: Path) -> None:
    for connection in (SECRET, in_cluster(), local(tmp_path / "kubeconfig")):
        sealed = cipher.seal(connection)
        assert b"s3cret" not in sealed
        assert cipher.open(sealed) == connection


def test_a_connection_does_not_show_its_secrets() -> None:
    assert "s3cret" not in repr(SECRET)
    assert "s3cret" not in f"{SECRET}"


def test_the_error_of_a_wrong_key_says_what_to_do(cipher: Cipher) -> None:
    other = Cipher(Fernet.generate_key().decode())
    with pytest.raises(SecretKeyError, match="set KUBEPROBE_SECRET_KEY") as caught:
        other.open(cipher.seal(SECRET))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_an_invalid_key_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="is not a Fernet key"):
        Cipher("not a key")


def test_the_key_of_the_settings_comes_first(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    cipher = Cipher.from_settings(Settings(data_dir=tmp_path, secret_key=SecretStr(key)))
    assert Cipher(key).open(cipher.seal(SECRET)) == SECRET
    assert list(tmp_path.iterdir()) == []


def test_the_key_file_is_created_once_with_mode_0600(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    first = Cipher.from_settings(settings)
    assert Cipher.from_settings(settings).open(first.seal(SECRET)) == SECRET
    path = settings.data_dir / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(settings.data_dir.iterdir()) == [path]


def test_processes_that_create_the_key_concurrently_get_the_same_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        ciphers = list(pool.map(lambda _: Cipher.from_settings(settings), range(64)))
    sealed = cast("bytes", ciphers[0].seal(SECRET))
    assert all(cipher.open(sealed) == SECRET for cipher in ciphers)
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
