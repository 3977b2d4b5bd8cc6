"""The trusted CAs, and descriptions of untrusted certificates."""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from probes._trust import add_authorities, load_client_certificate, tls_context

_HINTS = {
    "unable to get local issuer certificate": (
        "the server does not send the intermediate certificate, or the root is not trusted (CA_FILE, CA_PEM)"
    ),
    "self-signed certificate": "trust it with CA_FILE or CA_PEM if that is intended",
}
_ALIASES = {"self signed certificate": "self-signed certificate"}


class TrustError(Exception):
    """A certificate or key of a parameter cannot be loaded; the text has the parameter and the cause."""


@dataclass(frozen=True)
class Trust:
    """Files and texts of the parameters; empty if not set."""

    ca_file: str = ""
    ca_pem: str = ""
    client_file: str = ""
    client_key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """A TLS context that always verifies chain and name. Raises TrustError.

        The CAs of CA_FILE and CA_PEM are trusted in addition to the system's.
        """
        context = tls_context()
        try:
            if self.ca_file:
                add_authorities(context, Path(self.ca_file).read_bytes())
            if self.ca_pem:
                add_authorities(context, self.ca_pem.encode())
        except (OSError, ValueError) as error:
            raise TrustError(f"CA_FILE or CA_PEM has no readable certificate: {error}") from error
        if self.client_file:
            try:
                load_client_certificate(context, self.client_file, self.client_key_file or None)
            except (OSError, ValueError) as error:
                raise TrustError(f"CLIENT_CERT_FILE or CLIENT_KEY_FILE cannot be used: {error}") from error
        return context


def explain(error: ssl.SSLError, address: tuple[str, int], name: str, timeout: float) -> str:
    """Why a handshake failed, and the server's certificate."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"no TLS handshake: {error.reason or error}".replace("_", " ")
    reason = error.verify_message
    for old, new in _ALIASES.items():
        reason = reason.replace(old, new)
    hint = next((f"; {hint}" for text, hint in _HINTS.items() if text in reason), "")
    return f"certificate not trusted: {reason.rstrip('.')}{hint}. {_describe(address, name, timeout)}".rstrip()


def subject(certificate: dict[str, object]) -> str:
    """The name on a verified certificate, as in `SSLSocket.getpeercert`."""
    parts = certificate.get("subject")
    names = dict(pair for part in parts for pair in part) if isinstance(parts, tuple) else {}
    return f"CN={names['commonName']}" if "commonName" in names else _alternatives(certificate) or "(without a name)"


def _alternatives(certificate: dict[str, object]) -> str:
    names = certificate.get("subjectAltName")
    return ", ".join(value for _kind, value in names[:3]) if isinstance(names, tuple) else ""


def _describe(address: tuple[str, int], name: str, timeout: float) -> str:
    """A description of a server's certificate, fetched without verification; empty if it cannot be fetched."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, timeout) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            der = tls.getpeercert(binary_form=True) or b""
        return _described(der)
    except Exception:  # noqa: BLE001 - unreachable meanwhile, or a certificate that cryptography cannot read
        return ""


def _described(der: bytes) -> str:
    from cryptography import x509  # noqa: PLC0415 (only a failure needs it, and it takes 100 ms)
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    certificate = x509.load_der_x509_certificate(der)
    issuer = [str(part.value) for part in certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
    own = [str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        valid_for = ", ".join(str(part.value) for part in list(names)[:3])
    except (x509.ExtensionNotFound, ValueError):
        valid_for = "no name"
    until = certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M UTC")
    owner = f"CN={own[0]}" if own else "a certificate without a name"
    by = f"CN={issuer[0]}" if issuer else "a CA without a name"
    return f"The server sent {owner} for {valid_for}, issued by {by}, valid until {until}"


def plain_reason(error: OSError) -> str:
    """An operating system's error without its number."""
    text = error.strerror or str(error) or type(error).__name__
    return re.sub(r"^\[Errno -?\d+\] ", "", text).lower()
