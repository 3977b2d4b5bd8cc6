"""What the probes trust, compared with Go's crypto/x509 on the same bundles and chains."""

import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from probes._trust import tls_context, wrap_socket
from tests.harness.need import lacking
from tests.probes.certificates import certificate_of_version_4

HOST = "guard.shop.svc"
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Spec:
    """How a certificate is made."""

    name: str
    ca: bool | None = True
    """None: no basic constraints at all."""
    begins: timedelta = -DAY
    ends: timedelta = 90 * DAY
    sans: tuple[str, ...] = ()
    usage: x509.ObjectIdentifier | None = None
    identifiers: bool = False
    """Whether it has key identifiers."""
    rsa_bits: int = 0


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    spec: Spec
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make(spec: Spec, issuer: Made | None = None, key: Key | None = None) -> Made:
    key = key or (
        rsa.generate_private_key(65537, spec.rsa_bits) if spec.rsa_bits else ec.generate_private_key(ec.SECP256R1())
    )
    now = datetime.now(UTC)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(spec.name))
        .issuer_name(named(issuer.spec.name if issuer else spec.name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + spec.begins)
        .not_valid_after(now + spec.ends)
    )
    if spec.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(spec.ca, None), critical=True)
    if spec.sans:
        names = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in spec.sans]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if spec.usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([spec.usage]), critical=False)
    if spec.identifiers:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(authority, critical=False)
    return Made(spec, builder.sign(signer, hashes.SHA256()), key)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Case:
    """A bundle of CAs, a chain that a server sends, and the name that it is called by."""

    bundle: bytes
    chain: tuple[Made, ...]
    host: str = HOST


LEAF = Spec("web", ca=False, sans=(HOST, "10.0.0.7"))
ROOT = make(Spec("root"))
MIDDLE = make(Spec("middle"), ROOT)
LOWER = make(Spec("lower"), MIDDLE)
BY_ROOT, BY_MIDDLE, BY_LOWER = make(LEAF, ROOT), make(LEAF, MIDDLE), make(LEAF, LOWER)
SELF_SIGNED = make(replace(LEAF, ca=None))
EXPIRED_ROOT = make(Spec("old root", ends=-DAY / 2))
EXPIRED_MIDDLE = make(Spec("middle", ends=-DAY / 2), ROOT, MIDDLE.key)
OLD = make(Spec("kubernetes", identifiers=True))
NEW = make(Spec("kubernetes", identifiers=True, ends=91 * DAY))
PLAIN_OLD, PLAIN_NEW = make(Spec("kubernetes")), make(Spec("kubernetes", ends=91 * DAY))
NOT_A_CA = make(Spec("no CA", ca=False))
NO_CONSTRAINTS = make(Spec("no constraints", ca=None))
FOR_CLIENTS = make(Spec("for clients", usage=ExtendedKeyUsageOID.CLIENT_AUTH), ROOT)
GARBAGE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
BROKEN = b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"
WITH_HEADER = b"-----BEGIN CERTIFICATE-----\nName: root\n\n"

CASES = {
    "root": Case(ROOT.pem, (BY_ROOT,)),
    "another root": Case(ROOT.pem, (SELF_SIGNED,)),
    "root, intermediate sent": Case(ROOT.pem, (BY_MIDDLE, MIDDLE)),
    "root, intermediate not sent": Case(ROOT.pem, (BY_MIDDLE,)),
    "intermediate only": Case(MIDDLE.pem, (BY_MIDDLE,)),
    "intermediate only, sent as well": Case(MIDDLE.pem, (BY_MIDDLE, MIDDLE)),
    "intermediate only, root sent": Case(MIDDLE.pem, (BY_MIDDLE, MIDDLE, ROOT)),
    "intermediate only, two below": Case(MIDDLE.pem, (BY_LOWER, LOWER)),
    "lower intermediate only": Case(LOWER.pem, (BY_LOWER,)),
    "intermediate of another": Case(LOWER.pem, (BY_MIDDLE,)),
    "server's certificate itself": Case(BY_MIDDLE.pem, (BY_MIDDLE,)),
    "self-signed server": Case(SELF_SIGNED.pem, (SELF_SIGNED,)),
    "expired root": Case(EXPIRED_ROOT.pem, (make(LEAF, EXPIRED_ROOT),)),
    "expired intermediate in the bundle": Case(EXPIRED_MIDDLE.pem, (BY_MIDDLE,)),
    "expired and valid intermediate in the bundle": Case(EXPIRED_MIDDLE.pem + MIDDLE.pem, (BY_MIDDLE,)),
    "expired intermediate sent, valid one trusted": Case(MIDDLE.pem, (BY_MIDDLE, EXPIRED_MIDDLE)),
    "expired server": Case(ROOT.pem, (make(replace(LEAF, ends=-DAY / 2), ROOT),)),
    "server not valid yet": Case(ROOT.pem, (make(replace(LEAF, begins=DAY), ROOT),)),
    "renewed CA of the same name, old first": Case(OLD.pem + NEW.pem, (make(replace(LEAF, identifiers=True), NEW),)),
    "renewed CA of the same name, new first": Case(NEW.pem + OLD.pem, (make(replace(LEAF, identifiers=True), OLD),)),
    "the same without identifiers, new server": Case(PLAIN_OLD.pem + PLAIN_NEW.pem, (make(LEAF, PLAIN_NEW),)),
    "the same without identifiers, old server": Case(PLAIN_OLD.pem + PLAIN_NEW.pem, (make(LEAF, PLAIN_OLD),)),
    "issuer is not a CA": Case(NOT_A_CA.pem, (make(LEAF, NOT_A_CA),)),
    "issuer without basic constraints": Case(NO_CONSTRAINTS.pem, (make(LEAF, NO_CONSTRAINTS),)),
    "intermediate for clients only": Case(ROOT.pem, (make(LEAF, FOR_CLIENTS), FOR_CLIENTS)),
    "server for clients only": Case(ROOT.pem, (make(replace(LEAF, usage=ExtendedKeyUsageOID.CLIENT_AUTH), ROOT),)),
    "address": Case(ROOT.pem, (BY_ROOT,), "10.0.0.7"),
    "another address": Case(ROOT.pem, (BY_ROOT,), "10.0.0.8"),
    "another name": Case(ROOT.pem, (BY_ROOT,), "other.shop.svc"),
    "wildcard": Case(ROOT.pem, (make(replace(LEAF, sans=("*.shop.svc",)), ROOT),)),
    "wildcard, two labels": Case(ROOT.pem, (make(replace(LEAF, sans=("*.svc",)), ROOT),)),
    "common name only": Case(ROOT.pem, (make(Spec(HOST, ca=False), ROOT),)),
    "RSA of 1,024 bits": Case(ROOT.pem, (make(replace(LEAF, rsa_bits=1024), ROOT),)),
    "garbage before the root": Case(GARBAGE + BROKEN + b"text\n" + ROOT.pem, (BY_ROOT,)),
    "garbage behind the root": Case(ROOT.pem + GARBAGE, (BY_ROOT,)),
    "only garbage": Case(GARBAGE, (BY_ROOT,)),
    "a version 4 certificate before the root": Case(certificate_of_version_4("later") + ROOT.pem, (BY_ROOT,)),
    "root with a header": Case(ROOT.pem.replace(b"-----BEGIN CERTIFICATE-----\n", WITH_HEADER), (BY_ROOT,)),
    "root twice": Case(ROOT.pem * 2, (BY_ROOT,)),
    "root with Windows line ends": Case(ROOT.pem.replace(b"\n", b"\r\n"), (BY_ROOT,)),
    "root of another label": Case(ROOT.pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), (BY_ROOT,)),
}


def problem_here(case: Case, folder: Path) -> str:
    """The error of a handshake as the probes make it; empty if they trust the server."""
    file = folder / "server.pem"
    file.write_bytes(b"".join(made.pem for made in case.chain) + case.chain[0].key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the server may have any key
    context.load_cert_chain(file)
    threads = []

    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        threads.append(threading.Thread(target=answer, args=(theirs,)))
        threads[-1].start()
        return ours

    def answer(plain: socket.socket) -> None:
        with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(1)

    try:
        wrap_socket(connect, case.bundle, case.host).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ValueError as error:
        return str(error)
    finally:
        for thread in threads:
            thread.join(10)
    return ""


@pytest.fixture(scope="module")
def problems_in_go(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Go's error of each case; empty if it trusts the server."""
    go = shutil.which("go")
    if go is None:
        lacking("Go is not installed")
    program = tmp_path_factory.mktemp("go") / "goverify"
    source = Path(__file__).with_name("goverify")
    subprocess.run([go, "build", "-o", str(program), "."], cwd=source, check=True, timeout=600)
    cases = [
        {"bundle": case.bundle.decode(), "chain": b"".join(made.pem for made in case.chain).decode(), "host": case.host}
        for case in CASES.values()
    ]
    done = subprocess.run([program], input=json.dumps(cases), capture_output=True, text=True, check=True, timeout=120)
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_server_is_trusted_exactly_if_go_trusts_it(name: str, problems_in_go: dict[str, str], tmp_path: Path) -> None:
    here, there = problem_here(CASES[name], tmp_path), problems_in_go[name]
    assert bool(here) == bool(there), f"here: {here or 'trusted'}; Go: {there or 'trusted'}"


def test_a_bundle_without_a_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match="no readable certificate in PEM"):
        tls_context(b"-----BEGIN CERTIFICATE-----\n")
