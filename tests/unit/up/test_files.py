"""Small files that `kubeprobe up` keeps: one that is cut or invalid stops no start."""

import stat
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from kubeprobe.errors import InvalidInputError
from kubeprobe.localcluster.__main__ import _kept_token
from kubeprobe.settings import BROKER_URL_FILE, Settings
from kubeprobe.up.broker import EmbeddedBroker
from kubeprobe.up.ports import FILE, USUAL, Ports, parse_ports

VALID = b'{"broker":1024,"flower":1025,"cluster":1026,"web":1027}'


@pytest.mark.parametrize("content", [VALID[:-1], b"", b"[]", b"\xff", b"7", VALID + b" " * 5000])
def test_invalid_ports_are_replaced_by_usual_ones_or_free_ones(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    chosen = Ports.choose(tmp_path)
    assert orjson.loads((tmp_path / FILE).read_bytes()) == {name: getattr(chosen, name) for name in USUAL}
    assert Ports.choose(tmp_path) == chosen
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_valid_ports_of_a_file_are_kept() -> None:
    assert parse_ports(VALID) == {"broker": 1024, "flower": 1025, "cluster": 1026, "web": 1027}
    assert parse_ports(b'{"broker":true,"flower":"1","cluster":65536,"web":1,"other":2}') == {"web": 1}


@pytest.mark.parametrize("content", ["", "redis://:", "http://[", "redis://:\0@127.0.0.1:1/0"[:8]])
def test_a_damaged_url_of_the_broker_is_replaced_at_the_next_start_and_named_until_then(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / BROKER_URL_FILE).write_text(content)
    settings = Settings(data_dir=tmp_path)
    if not content.startswith("redis://"):
        with pytest.raises(InvalidInputError, match=r"broker\.url is damaged; expected redis://"):
            settings.broker()
    broker = EmbeddedBroker.prepare(tmp_path, 1024)
    assert settings.broker() == broker.url
    assert len(urlsplit(broker.url).password or "") > 30
    assert EmbeddedBroker.prepare(tmp_path, 1024).url == broker.url


def test_an_empty_token_of_the_local_cluster_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "token").touch(0o644)
    token = _kept_token(tmp_path)
    assert len(token) > 30
    assert (_kept_token(tmp_path), [path.name for path in tmp_path.iterdir()]) == (token, ["token"])
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
