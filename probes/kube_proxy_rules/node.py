"""Fetches a node's rules, by nft and iptables-save in its network namespace and by /proc.

Next stage: `nftables`, `iptables` and `ipvs` read them.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from probes.kube_proxy_rules import iptables, ipvs, nftables
from probes.kube_proxy_rules.rules import Rules

IP_VS = Path("/proc/net/ip_vs")
COMMAND_TIMEOUT = 20.0
"""Seconds for nft or iptables-save to print tens of thousands of rules."""


class CannotLook(Exception):  # noqa: N818
    """The node's rules cannot be read: why, and what is needed."""


def rules_of(family: int, node_ports: set[int]) -> list[Rules]:
    """The rules of every mode that kube-proxy has left any of; raises CannotLook."""
    found = []
    if table := _nft(family):
        found.append(nftables.parse(table))
    saved = _run(["iptables-save" if family == 4 else "ip6tables-save", "-t", "nat"])
    if iptables.is_there(saved):
        found.append(iptables.parse(saved))
    if IP_VS.exists():
        rules = ipvs.parse(IP_VS.read_text(), _own_addresses(), node_ports)
        if rules.fronts:
            return [rules]  # in that mode iptables hold but a few helpers
    return found


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


def _run(command: list[str]) -> str:
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}  # where they are on Debian
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotLook(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip()[:300]
        raise CannotLook(f"{' '.join(command)} failed: {said}; needed are hostNetwork and the capability NET_ADMIN")
    return done.stdout
