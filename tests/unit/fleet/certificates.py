"""Certificates for TLS tests."""

import base64
import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str

    @property
    def certificate_data(self) -> str:
        """As a kubeconfig holds it."""
        return base64.b64encode(self.certificate.encode()).decode()

    @property
    def key_data(self) -> str:
        """As a kubeconfig holds it."""
        return base64.b64encode(self.key.encode()).decode()

    def protected(self, passphrase: str, *, traditional: bool = False) -> "Pair":
        """The same, with a passphrase on the key; `traditional`: in the format of OpenSSL before 1.0."""
        kind = serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
        key = serialization.load_pem_private_key(self.key.encode(), None)
        return Pair(self.certificate, key.private_bytes(serialization.Encoding.PEM, kind, encryption).decode())

    def write(self, path: Path) -> Path:
        """Certificate and key in one file."""
        path.write_text(self.certificate + self.key)
        return path


class Authority:
    """A certificate authority for tests."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pair = self._sign(self._name, self._key, ends=DAY, authority=True)

    def issue(self, name: str, *, host: str | tuple[str, ...] = (), ends: timedelta = DAY) -> Pair:
        """A certificate for a client, or for a server at addresses or host names; `ends` counts from now."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._sign(subject, ec.generate_private_key(ec.SECP256R1()), ends=ends, host=host)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        ends: timedelta,
        host: str | tuple[str, ...] = (),
        authority: bool = False,
    ) -> Pair:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            names = [_alternative(each) for each in ((host,) if isinstance(host, str) else host)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Pair(certificate.public_bytes(pem).decode(), private.decode())


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def server_context(pair: Pair, folder: Path, clients: Authority | None = None) -> ssl.SSLContext:
    """A TLS server's context; with `clients`, it requires a client certificate of that authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.write(folder / "server.pem"))
    if clients is not None:
        context.load_verify_locations(cadata=clients.pair.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
