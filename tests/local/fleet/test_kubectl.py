"""Kubeconfigs mean to KubeProbe what they mean to kubectl: some 150, each tried with both on servers on loopback."""

import asyncio
import base64
import os
import shutil
import sys
import textwrap
from pathlib import Path
from string import Template

import pytest
from cryptography.fernet import Fernet

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.fleet.errors import ClusterError
from testbed.instance import cache_directory
from tests.harness.need import lacking
from tests.local.fleet.kubectl_cases import GROUPS, SENDS, Case
from tests.local.fleet.kubectl_servers import Servers, serve
from tests.unit.fleet.certificates import Authority
from tests.unit.fleet.rows import cluster_row

AT_A_TIME = 4
PLUGIN = """#!{python}
import base64, json, os, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
def answer(version=info["apiVersion"], kind="ExecCredential", **status):
    print(json.dumps(dict(apiVersion=version, kind=kind, status=status)))
match sys.argv[1:2]:
    case ["failure"]: sys.exit(3)
    case ["nothing"]: answer()
    case ["half"]: answer(token="t", clientKeyData="x")
    case ["other_version"]: answer("client.authentication.k8s.io/v1beta1", token="t")
    case ["no_kind"]: answer(kind="", token="t")
    case ["other_kind"]: answer(kind="Pod", token="t")
    case ["no_version"]: answer(version="", token="t")
    case ["number"]: answer(token=1)
    case ["expired"]: answer(token="t", expirationTimestamp="2020-01-01T00:00:00Z")
    case ["bad_time"]: answer(token="t", expirationTimestamp="tomorrow")
    case ["yaml"]: print(f"apiVersion: {{info['apiVersion']}}\\nkind: ExecCredential\\nstatus: {{{{token: t}}}}")
    case ["certificate"]:
        pem = open("{pem}").read()
        answer(clientCertificateData=pem, clientKeyData=pem)
    case _:
        seen = json.dumps([sys.argv[1:], os.environ.get("CASE"), info], sort_keys=True)
        answer(token=base64.b64encode(seen.encode()).decode())
"""


@pytest.mark.parametrize("group", GROUPS)
def test_kubectl_and_kubeprobe_refuse_and_send_the_same(group: str, tmp_path: Path) -> None:
    kubectl = find_kubectl()
    differences = asyncio.run(compare(kubectl, GROUPS[group], tmp_path))
    assert not differences, "\n".join(differences)


def test_each_case_has_a_name_of_its_own() -> None:
    names = [case.name for cases in GROUPS.values() for case in cases]
    assert len(names) == len(set(names)) > 150


def find_kubectl() -> str:
    """The test bed's, if it is built; else the one that is installed."""
    built = sorted(cache_directory().glob("kubernetes-v*/kubectl"))
    return str(built[-1]) if built else shutil.which("kubectl") or lacking("kubectl is not installed")


async def compare(kubectl: str, cases: list[Case], folder: Path) -> list[str]:
    async with serve(folder) as servers:
        values = prepare(folder, servers)
        files = {case.name: write(case, folder, values) for case in cases}
        turns = asyncio.Semaphore(AT_A_TIME)
        errors = await asyncio.gather(*(run_kubectl(kubectl, file, turns) for file in files.values()))
        theirs, servers.sent = servers.sent, {}
        their_proxied, servers.proxied = servers.proxied, {}
        refusals = await asyncio.gather(*(run_kubeprobe(file, turns) for file in files.values()))
    differences = [] if their_proxied == servers.proxied else [f"proxied: {their_proxied} / {servers.proxied}"]
    for case, error, refusal in zip(cases, errors, refusals, strict=True):
        sent, ours = theirs.get(case.name, set()), servers.sent.get(case.name, set())
        if bool(sent) is not (case.kubectl is SENDS):
            differences.append(f"{case.name}: the table is wrong about kubectl: {sent or error}")
        elif case.named and (ours or case.named not in refusal):
            differences.append(f"{case.name}: not refused by name: {ours or refusal}")
        elif not case.named and ours != sent:
            differences.append(f"{case.name}: kubectl {sent or error}\n  KubeProbe {ours or refusal}")
    return differences


def prepare(folder: Path, servers: Servers) -> dict[str, str]:
    """The files that kubeconfigs refer to; the values for their placeholders."""
    other, protected = Authority("other"), servers.client.protected("passphrase")
    (folder / "pki").mkdir()
    (folder / "pki" / "ca.crt").write_text(servers.authority.pair.certificate)
    pem = servers.client.write(folder / "pki" / "client.pem")
    (folder / "token").write_text("from-a-file\n")
    (folder / "empty").write_text("")
    (folder / "plugin").write_text(PLUGIN.format(python=sys.executable, pem=pem))
    (folder / "plugin").chmod(0o755)
    ca = servers.authority.pair.certificate_data
    comments = f"Grüße\n{servers.client.key}{servers.authority.pair.certificate}-----BEGIN CERTIFICATE-----\nAAAA\n"
    return {
        "https": str(servers.https),
        "http": str(servers.http),
        "proxy": str(servers.proxy),
        "folder": str(folder),
        "ca": ca,
        "ca_spaces": f"{ca[:64]} {ca[64:]}",
        "ca_lines": textwrap.indent("\n".join(textwrap.wrap(ca, 64)), "  "),
        "ca_comments": base64.b64encode(f"{comments}-----END CERTIFICATE-----\n".encode()).decode(),
        "other_ca": other.pair.certificate_data,
        "certificate": servers.client.certificate_data,
        "key": servers.client.key_data,
        "other_key": other.issue("other").key_data,
        "protected_key": protected.key_data,
    }


def write(case: Case, folder: Path, values: dict[str, str]) -> Path:
    values = values | {"case": case.name, "url": f"https://127.0.0.1:{values['https']}/{case.name}"}
    parts = {name: Template(text).substitute(values) for name, text in (("cluster", case.cluster), ("user", case.user))}
    indented = {name: textwrap.indent(text, "    ") for name, text in parts.items()}
    path = folder / f"{case.name}.kubeconfig"
    path.write_text(Template(case.whole).substitute(values | indented), newline="")
    return path


async def run_kubectl(kubectl: str, file: Path, turns: asyncio.Semaphore) -> str:
    """Ask for the server's version; kubectl's errors."""
    async with turns:
        process = await asyncio.create_subprocess_exec(
            *(kubectl, "--kubeconfig", str(file), "--cache-dir", str(file.parent / "cache"), "version"),
            env={"PATH": os.environ["PATH"], "HOME": str(file.parent)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await asyncio.wait_for(process.communicate(), 60)
    return stderr.decode(errors="replace")


async def run_kubeprobe(file: Path, turns: asyncio.Semaphore) -> str:
    """Ask for the server's version; KubeProbe's error. Any other exception than its own fails the test."""
    cipher = Cipher(Fernet.generate_key().decode())
    clients = ClusterClients(cipher)
    async with turns:
        try:
            api = await clients.get(cluster_row(cipher, from_kubeconfig(file)))
            await api.version()
        except (InvalidInputError, ClusterError) as error:
            return str(error)
        finally:
            await clients.close()
    return ""
