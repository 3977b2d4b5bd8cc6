"""Certificates made to order, and a TLS server that shows one."""

import base64
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_server
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
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


def ending_in(days: float, name: str = "web", sans: tuple[str, ...] = ()) -> tuple[bytes, bytes]:
    """A certificate that ends so many days from now (before now if negative)."""
    now = datetime.now(UTC)
    return certificate(name, now - 400 * DAY, now + days * DAY, sans)


def tls_secret(name: str, pem: bytes, key: bytes) -> dict[str, Any]:
    """A `kubernetes.io/tls` Secret."""
    data = {"tls.crt": base64.b64encode(pem).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data}


@contextmanager
def tls_server(folder: Path, pem: bytes, key: bytes, host: str = "127.0.0.1") -> Iterator[int]:
    """A TLS server that shows the certificate to everybody who calls; its port."""
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
