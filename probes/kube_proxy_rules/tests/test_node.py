"""Reading rules from a node, with scripts as its commands, and files as its /proc and /sys."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.kube_proxy_rules import node
from probes.kube_proxy_rules.node import RulesUnreadable, rules_of

RECORDED = Path(__file__).parent / "recorded"
IP_VS = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0AC80001:192B      Masq    1      3          0
"""
NO_TABLES = json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}]})
NAT_OF_OTHERS = "*nat\n:PREROUTING ACCEPT [0:0]\n-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE\nCOMMIT\n"
Command = Callable[[str, str | None], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Sets the output of a command of the node; with None it fails, and without a call it is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "SYSTEM_DIRECTORIES", str(tmp_path))

    def set_output(name: str, prints: str | None) -> None:
        (tmp_path / f"{name}.txt").write_text(prints or "")
        does = "echo no such table >&2; exit 1" if prints is None else f"exec /bin/cat {tmp_path / name}.txt"
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)

    return set_output


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose kernel has no rules."""
    for name in ("IP_VS", "IPVS_DEVICE", "LEGACY_TABLES"):
        monkeypatch.setattr(node, name, tmp_path / name)


def modes(mode: str = "auto", family: int = 4) -> list[str]:
    return [rules.mode for rules in rules_of(family, set(), mode)]


def saved() -> str:
    """The output of iptables-save with kube-proxy in mode `iptables`."""
    return (RECORDED / "iptables.txt").read_text()


def ipvs_is_filled(tmp_path: Path, command: Command) -> None:
    (tmp_path / "IP_VS").write_text(IP_VS)
    command("ip", "[]")


def legacy_tables(tmp_path: Path, *names: str, file: str = "ip_tables_names") -> None:
    """Give the kernel these tables in iptables' legacy backend."""
    (tmp_path / "LEGACY_TABLES").mkdir(exist_ok=True)
    (tmp_path / "LEGACY_TABLES" / file).write_text("".join(f"{name}\n" for name in names))


def test_ipvs_with_kube_proxys_device_is_checked(tmp_path: Path, command: Command) -> None:
    ipvs_is_filled(tmp_path, command)
    (tmp_path / "IPVS_DEVICE").mkdir()
    assert modes() == ["ipvs"]


def test_ipvs_without_kube_proxys_device_is_ignored(tmp_path: Path, command: Command) -> None:
    ipvs_is_filled(tmp_path, command)
    command("nft", NO_TABLES)
    command("iptables-save", saved())
    assert modes() == ["iptables"]
    assert modes("ipvs") == []


def test_only_the_rules_of_the_given_mode_are_checked(tmp_path: Path, command: Command) -> None:
    ipvs_is_filled(tmp_path, command)
    (tmp_path / "IPVS_DEVICE").mkdir()
    command("nft", None)
    command("iptables-save", saved())
    assert modes("iptables") == ["iptables"]
    assert modes("ipvs") == ["ipvs"]
    with pytest.raises(RulesUnreadable, match=r"^nft -j list tables ip failed: no such table; expected hostNetwork"):
        rules_of(4, set(), "nftables")


def test_rules_of_two_modes_are_both_found(command: Command) -> None:
    command("nft", (RECORDED / "nftables.json").read_text())
    command("iptables-save", saved())
    assert modes() == ["nftables", "iptables"]


def test_iptables_is_read_from_the_backend_with_kube_proxys_chains(tmp_path: Path, command: Command) -> None:
    legacy_tables(tmp_path, "filter", "nat")
    command("iptables-nft-save", NAT_OF_OTHERS)
    command("iptables-legacy-save", saved())
    assert modes("iptables") == ["iptables"]
    command("iptables-nft-save", saved())
    command("iptables-legacy-save", NAT_OF_OTHERS)
    assert modes("iptables") == ["iptables"]
    command("iptables-nft-save", NAT_OF_OTHERS)
    assert modes("iptables") == []


def test_each_family_has_its_own_iptables_backend(tmp_path: Path, command: Command) -> None:
    legacy_tables(tmp_path, "nat", file="ip6_tables_names")
    command("ip6tables-nft-save", NAT_OF_OTHERS)
    command("ip6tables-legacy-save", saved())
    assert modes("iptables", family=6) == ["iptables"]


def test_a_missing_table_of_the_legacy_backend_is_not_created_by_reading(tmp_path: Path, command: Command) -> None:
    command("iptables-nft-save", NAT_OF_OTHERS)
    command("iptables-legacy-save", saved())
    assert modes("iptables") == [], "a kernel without that backend"
    legacy_tables(tmp_path, "filter")
    assert modes("iptables") == [], "a node without that table"


def test_an_unreadable_legacy_backend_counts_as_empty(tmp_path: Path, command: Command) -> None:
    legacy_tables(tmp_path, "nat")
    command("iptables-nft-save", NAT_OF_OTHERS)
    assert modes("iptables") == [], "without its command"
    command("iptables-legacy-save", None)
    assert modes("iptables") == [], "with one that fails"


def test_iptables_that_cannot_be_read_at_all_is_reported(command: Command) -> None:
    with pytest.raises(RulesUnreadable, match=r"^iptables-save cannot be run: "):
        rules_of(4, set(), "iptables")
    command("iptables-nft-save", None)
    with pytest.raises(RulesUnreadable, match=r"^iptables-nft-save -t nat failed: no such table; "):
        rules_of(4, set(), "iptables")
