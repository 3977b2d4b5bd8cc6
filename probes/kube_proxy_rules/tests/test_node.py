"""What is fetched from a node: its commands are scripts here, its /proc and /sys are files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.kube_proxy_rules import node
from probes.kube_proxy_rules.node import CannotLook, rules_of

RECORDED = Path(__file__).parent / "recorded"
IP_VS = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0AC80001:192B      Masq    1      3          0
"""
NO_TABLES = json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}]})
Command = Callable[[str, str | None], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Sets what a command of the node prints; with None it fails, and one that was never set is not there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "SYSTEM_DIRECTORIES", str(tmp_path))

    def is_set(name: str, prints: str | None) -> None:
        (tmp_path / f"{name}.txt").write_text(prints or "")
        does = "echo no such table >&2; exit 1" if prints is None else f"exec /bin/cat {tmp_path / name}.txt"
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)

    return is_set


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose kernel has none of what is looked for."""
    for name in ("IP_VS", "IPVS_DEVICE"):
        monkeypatch.setattr(node, name, tmp_path / name)


def modes(mode: str = "auto") -> list[str]:
    return [rules.mode for rules in rules_of(4, set(), mode)]


def saved() -> str:
    """What iptables-save prints where kube-proxy runs in mode `iptables`."""
    return (RECORDED / "iptables.txt").read_text()


def ipvs_is_filled(tmp_path: Path, command: Command) -> None:
    (tmp_path / "IP_VS").write_text(IP_VS)
    command("ip", "[]")


def test_ipvs_is_kube_proxys_where_its_device_is(tmp_path: Path, command: Command) -> None:
    ipvs_is_filled(tmp_path, command)
    (tmp_path / "IPVS_DEVICE").mkdir()
    assert modes() == ["ipvs"]


def test_ipvs_of_somebody_else_is_not_taken_for_kube_proxys(tmp_path: Path, command: Command) -> None:
    ipvs_is_filled(tmp_path, command)
    command("nft", NO_TABLES)
    command("iptables-save", saved())
    assert modes() == ["iptables"]
    assert modes("ipvs") == []


def test_only_the_rules_of_the_mode_that_is_said_are_looked_at(tmp_path: Path, command: Command) -> None:
    ipvs_is_filled(tmp_path, command)
    (tmp_path / "IPVS_DEVICE").mkdir()
    command("nft", None)
    command("iptables-save", saved())
    assert modes("iptables") == ["iptables"]
    assert modes("ipvs") == ["ipvs"]
    with pytest.raises(CannotLook, match=r"^nft -j list tables ip failed: no such table; needed are hostNetwork"):
        rules_of(4, set(), "nftables")


def test_rules_in_two_modes_are_both_found(command: Command) -> None:
    command("nft", (RECORDED / "nftables.json").read_text())
    command("iptables-save", saved())
    assert modes() == ["nftables", "iptables"]
