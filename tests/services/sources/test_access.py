"""Private repositories: tokens over HTTP, deploy keys over ssh. No secret is shown, or stored unencrypted."""

import os
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.sources import GitError, Secret, parse_address
from kubeprobe.store import Store
from tests.services.sources.given import OTHER_CASE, World
from tests.services.sources.servers import http_server, make_key, ssh_server

TOKEN = "kp-t0ken-nobody-may-see"


def test_a_token_is_used_over_http_and_is_not_on_the_command_line(world: World, tmp_path: Path) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server:
        world.add(url=f"{server.url}/team.git", secret=Secret(token=TOKEN))
        world.repository.push(catalog__o_yaml=OTHER_CASE)
        assert world.poll()[0].error == ""
        assert any("fetch" in command for command in server.commands)
        assert not any(TOKEN in command for command in server.commands)
    assert world.cases() == {"dns", "other"}
    assert not list(world.context.folder.glob(".call-*"))


def test_the_error_for_a_rejected_token_does_not_contain_it(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server:
        for secret in (Secret(), Secret(token="wrong-token")):
            with pytest.raises(GitError) as refused:
                world.add(url=f"{server.url}/team.git", secret=secret)
            assert "the server requires a token, or rejected this one" in str(refused.value)
            assert "wrong-token" not in str(refused.value)


def test_a_token_is_not_sent_to_the_target_of_a_redirect(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server, pytest.raises(GitError, match=r"302|redirect"):
        world.add(url=f"{server.url}/moved/team.git", secret=Secret(token=TOKEN))


def test_a_token_is_not_sent_unencrypted(world: World) -> None:
    with pytest.raises(InvalidInputError, match="use https"):
        world.add(url="http://git.example.com/team.git", secret=Secret(token=TOKEN))


def test_a_deploy_key_is_used_over_ssh_and_the_host_key_is_pinned(world: World, tmp_path: Path) -> None:
    with ssh_server(tmp_path / "ssh") as server:
        added = world.add(url=server.url(world.repository.bare), secret=Secret(deploy_key=server.deploy_key))
        assert added.known_hosts == server.known_hosts()
        world.repository.push(catalog__o_yaml=OTHER_CASE)
        assert world.poll()[0].error == ""
        assert world.cases() == {"dns", "other"}
        assert Secret.open(world.context.cipher, world.source().secret).known_hosts == server.known_hosts()

        make_key(tmp_path / "other")
        other = Secret(deploy_key=server.deploy_key, known_hosts=_line(server.port, tmp_path / "other.pub"))
        with pytest.raises(GitError, match="REMOTE HOST IDENTIFICATION HAS CHANGED"):
            world.add("other", url=server.url(world.repository.bare), secret=other)
        stranger = Secret(deploy_key=(tmp_path / "other").read_text(), known_hosts=server.known_hosts())
        with pytest.raises(GitError, match="Permission denied"):
            world.add("other", url=server.url(world.repository.bare), secret=stranger)
    assert not list(world.context.folder.glob(".call-*")), "the key file is deleted after each use"


@pytest.mark.parametrize("kind", ["passphrase", "public", "garbage"])
def test_an_unusable_key_is_rejected(world: World, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / "key", "secret" if kind == "passphrase" else "")
    text = {"passphrase": key.read_text(), "public": Path(f"{key}.pub").read_text(), "garbage": "hunter2"}[kind]
    reason = "has a passphrase" if kind == "passphrase" else "is not a private key"
    with pytest.raises(InvalidInputError, match=reason) as refused:
        world.add(url="git@git.example.com:team.git", secret=Secret(deploy_key=text))
    assert text.strip() not in str(refused.value)


def test_the_database_contains_no_unencrypted_secret(world: World, store: Store, tmp_path: Path) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server:
        webhook = "correct-horse-battery-staple"
        world.add(url=f"{server.url}/team.git", secret=Secret(token=TOKEN, webhook=webhook))
    written = _bytes_of(store, tmp_path)
    assert server.url.encode() in written, "the bytes are those of the database"
    assert TOKEN.encode() not in written
    assert webhook.encode() not in written
    assert Secret.open(world.context.cipher, world.source().secret).token == TOKEN


def test_a_secret_encrypted_with_another_key_is_reported(world: World, tmp_path: Path) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server:
        world.add(url=f"{server.url}/team.git", secret=Secret(token=TOKEN))
        (world.context.settings.data_dir / "secret.key").unlink()
        world.context = world.context.of(world.context.store, world.context.settings)
        old = world.context
        world.context = type(old)(old.store, old.settings, old.cipher, lambda: world.now)
        assert "was encrypted with another key" in world.poll()[0].error


def test_stored_secrets_are_kept_on_replace_and_not_sent_to_another_server(world: World) -> None:
    folder, webhook = world.repository.bare.parent, "correct-horse-battery-staple"
    with http_server(folder, TOKEN) as server, http_server(folder, "") as other:
        world.add(url=f"{server.url}/team.git", secret=Secret(token=TOKEN, webhook=webhook))
        added = world.add(url=f"{server.url}/team.git/", replace=True, every=timedelta(minutes=2))
        assert _secret(world) == Secret(token=TOKEN, webhook=webhook)
        assert added.changes == (
            f"address: {server.url}/team.git -> {server.url}/team.git/",
            "interval: 60 s -> 120 s",
        )
        with pytest.raises(GitError, match="the server requires a token"):
            world.add(url=f"{other.url}/team.git", replace=True)
        assert _secret(world) == Secret(token=TOKEN, webhook=webhook)
        added = world.add(url=str(world.repository.bare), replace=True)
        assert added.changes[1:] == ("token: removed, as the server changed",)
        assert _secret(world) == Secret(webhook=webhook)


def test_a_source_with_undecryptable_secrets_can_be_replaced(world: World) -> None:
    world.add(secret=Secret(webhook="correct-horse-battery-staple"))
    (world.context.settings.data_dir / "secret.key").unlink()
    world.context = replace(world.context, cipher=Cipher.from_settings(world.context.settings))
    added = world.add(replace=True)
    assert added.changes == ("secrets: removed, as they were encrypted with another key",)
    assert _secret(world) == Secret()


def test_other_protocols_are_rejected(world: World) -> None:
    for url in ("ext::sh -c touch% /tmp/x", "fd::7", "-u./x", "file:///srv", "git://host/x"):
        with pytest.raises(InvalidInputError):
            parse_address(url)


def _secret(world: World) -> Secret:
    return Secret.open(world.context.cipher, world.source().secret)


def _line(port: int, public_key: Path) -> str:
    kind, key, *_ = public_key.read_text().split()
    return f"[127.0.0.1]:{port} {kind} {key}\n"


def _bytes_of(store: Store, folder: Path) -> bytes:
    """The content of the database files, or of a dump."""
    if store.engine.dialect.name == "sqlite":
        return b"".join(path.read_bytes() for path in folder.glob("kubeprobe.db*"))
    url = make_url(store.engine.url.set(drivername="postgresql"))
    dump = next(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    address = url.render_as_string(hide_password=False)
    return subprocess.run([dump, "--inserts", address], capture_output=True, check=True, env=os.environ).stdout
