"""Our TLS contexts trust what Go's crypto/x509 trusts, and nothing else."""

import json
import os
import shutil
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

from kubeprobe.fleet.tls import client_context
from kubeprobe.fleet.translation import describe_certificate_error
from tests.harness.need import lacking
from tests.local.fleet.trust_cases import FOR_ANYTHING, SAME_NAME, make_cases

PROGRAM = Path(__file__).parent / "trust" / "main.go"
REFUSED_BY_NAME = {
    SAME_NAME: "leave only the newer one in certificate-authority-data",
    **dict.fromkeys(FOR_ANYTHING, "is not for servers; issue one with the extended key usage serverAuth"),
}
"""What OpenSSL cannot do: the error says what to change."""


def test_kubeprobe_trusts_what_go_trusts(tmp_path: Path) -> None:
    go = shutil.which("go") or lacking("Go is not installed (https://go.dev)")
    cases = make_cases()
    environment = {**os.environ, "GO111MODULE": "off", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    command = [go, "run", str(PROGRAM)]
    given = json.dumps(cases.found).encode()
    output = subprocess.run(command, input=given, capture_output=True, check=True, env=environment, timeout=600).stdout
    theirs: dict[str, str] = json.loads(output)
    ours = {case["Name"]: verify(case, cases.keys[case["Name"]], tmp_path) for case in cases.found}
    assert len(ours) == len(cases.found) > 60, "each case has a name of its own"
    differing = [name for name in ours if bool(ours[name]) != bool(theirs[name]) and name not in REFUSED_BY_NAME]
    assert not differing, "\n".join(f"{name}: Go {theirs[name]!r}, we {ours[name]!r}" for name in differing)
    for name, reason in REFUSED_BY_NAME.items():
        assert (theirs[name], reason in ours[name]) == ("", True), ours[name]
    assert sum(not error for error in ours.values()) > 20


def verify(case: dict[str, str], key: str, folder: Path) -> str:
    """The error of a handshake in memory; empty if it succeeds."""
    file = folder / "server.pem"
    file.write_text(case["Chain"] + key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.set_ciphers("DEFAULT:@SECLEVEL=0")
    serving.load_cert_chain(file)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(case["Bundle"]).wrap_bio(down, up, server_hostname=case["Host"])
    server = serving.wrap_bio(up, down, server_side=True)
    for _ in range(10):
        with suppress(ssl.SSLWantReadError):
            try:
                client.do_handshake()
            except ssl.SSLCertVerificationError as error:
                return describe_certificate_error(error)
            return ""
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    return "the handshake does not end"
