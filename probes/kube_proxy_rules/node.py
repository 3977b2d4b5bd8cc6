"""Fetches a node's rules with nft, iptables-save and /proc, in the node's network namespace."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from probes.kube_proxy_rules import iptables, ipvs, nftables
from probes.kube_proxy_rules.rules import Rules

IP_VS = Path("/proc/net/ip_vs")
IPVS_DEVICE = Path("/sys/class/net/kube-ipvs0")
"""kube-proxy's own device in mode `ipvs`. IPVS without it belongs to another program (kube-vip, keepalived)."""
LEGACY_TABLES = Path("/proc/net")
"""The kernel's list of the legacy iptables tables of this network namespace."""
SYSTEM_DIRECTORIES = "/usr/sbin:/sbin"
"""The directories of the commands on Debian, which a user's PATH lacks."""
COMMAND_TIMEOUT = 20.0
"""Time limit of nft and iptables-save, in seconds, for tens of thousands of rules."""


class RulesUnreadable(Exception):  # noqa: N818
    """The node's rules cannot be read; the text has the cause and the requirement."""


def rules_of(family: int, node_ports: set[int], mode: str) -> list[Rules]:
    """The rules of a mode, or in mode `auto` of every mode with rules of kube-proxy; raises RulesUnreadable."""
    if mode in ("auto", "ipvs") and (rules := _ipvs(node_ports)):
        return [rules]  # in that mode iptables has only a few helper rules
    found = []
    if mode in ("auto", "nftables") and (table := _nft(family)):
        found.append(nftables.parse(table))
    if mode in ("auto", "iptables") and iptables.has_rules(saved := _iptables(family)):
        found.append(iptables.parse(saved))
    return found


def _ipvs(node_ports: set[int]) -> Rules | None:
    """kube-proxy's rules in the kernel's IPVS table, of both address families; None if there is none."""
    if not (IPVS_DEVICE.exists() and IP_VS.exists()):
        return None
    rules = ipvs.parse(IP_VS.read_text(), _own_addresses(), node_ports)
    return rules if rules.fronts else None


def _iptables(family: int) -> str:
    """The table `nat` of the iptables backend with kube-proxy's chains; nf_tables comes first."""
    name = "iptables" if family == 4 else "ip6tables"
    nft_command = f"{name}-nft-save"
    saved = _run([nft_command if shutil.which(nft_command, path=_path()) else f"{name}-save", "-t", "nat"])
    if iptables.has_rules(saved):
        return saved
    return _legacy(family, f"{name}-legacy-save") or saved


def _legacy(family: int, command: str) -> str:
    """The table `nat` of the legacy backend; empty if it is not in use, as reading a missing table would create it."""
    tables = LEGACY_TABLES / ("ip_tables_names" if family == 4 else "ip6_tables_names")
    if not tables.exists() or "nat" not in tables.read_text().split():
        return ""
    try:
        return _run([command, "-t", "nat"])
    except RulesUnreadable:
        return ""


def _nft(family: int) -> dict[str, Any] | None:
    """kube-proxy's table; None if there is none."""
    name = "ip" if family == 4 else "ip6"
    tables = json.loads(_run(["nft", "-j", "list", "tables", name]) or "{}").get("nftables") or []
    if not any(entry.get("table", {}).get("name") == "kube-proxy" for entry in tables):
        return None
    table: dict[str, Any] = json.loads(_run(["nft", "-j", "list", "table", name, "kube-proxy"]))
    return table


def _own_addresses() -> set[str]:
    links = json.loads(_run(["ip", "-j", "address"]))
    return {info["local"] for link in links for info in link.get("addr_info") or [] if "local" in info}


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}"


def _run(command: list[str]) -> str:
    env = {**os.environ, "PATH": _path()}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RulesUnreadable(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        stderr = done.stderr.strip()[:300]
        raise RulesUnreadable(
            f"{' '.join(command)} failed: {stderr}; expected hostNetwork and the capability NET_ADMIN"
        )
    return done.stdout
