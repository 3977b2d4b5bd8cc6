"""Test certificates, and a TLS server."""

import base64
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def certificate(name: str, begins: datetime, ends: datetime, sans: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if sans:
        names = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in sans]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM), private


@dataclass(frozen=True)
class Authority:
    """A certificate authority, root or intermediate."""

    name: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str, issuer: "Authority | None" = None) -> "Authority":
        """A root, or an intermediate of `issuer`."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = _builder(name, issuer.name if issuer else name, key, now - DAY, now + 400 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(name, builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> "Authority":
        """The CA in these files, such as the test bed's."""
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return cls(str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value), found, private)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, sans: tuple[str, ...], days: float = 90, name: str = "web") -> tuple[bytes, bytes]:
        """A server's certificate for these names, and its key, both in PEM; valid for `days`."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in sans]
        builder = _builder(name, self.name, key, now - 100 * DAY, now + days * DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self.key, hashes.SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return signed.public_bytes(Encoding.PEM), private


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    def common_name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def expiring_certificate(days: float, name: str = "web", sans: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
    """A certificate that expires in `days` (in the past if negative)."""
    now = datetime.now(UTC)
    return certificate(name, now - 400 * DAY, now + days * DAY, sans)


def certificate_of_version_4(name: str) -> bytes:
    """A certificate in PEM whose version field is X.509 version 4, which no standard defines."""
    pem, _key = expiring_certificate(300, name)
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    version = b"\xa0\x03\x02\x01"
    assert der.count(version + b"\x02") == 1
    return ssl.DER_cert_to_PEM_cert(der.replace(version + b"\x02", version + b"\x03")).encode()


def tls_secret(name: str, pem: bytes, key: bytes) -> dict[str, Any]:
    """A `kubernetes.io/tls` Secret."""
    data = {"tls.crt": base64.b64encode(pem).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data}


@contextmanager
def tls_server(folder: Path, pem: bytes, key: bytes, host: str = "127.0.0.1") -> Iterator[int]:
    """A TLS server with this certificate; yields its port."""
    file = folder / "server.pem"
    file.write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = create_server((host, 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as tls:
                tls.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(2)
        listener.close()
        thread.join(10)
