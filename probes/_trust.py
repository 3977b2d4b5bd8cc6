"""TLS contexts that trust as Go's crypto/x509 does, and so as the API server, the kubelet and client-go do.

Where Python's `ssl.create_default_context` differs:

| | Python | Go, and here |
|---|---|---|
| a bundle with an intermediate only | trusted since 3.13 | trusted: every certificate of the bundle is an anchor |
| a bundle with one unreadable block | nothing is trusted | the other certificates are trusted |
| RFC 5280 to the letter (`VERIFY_X509_STRICT`) | since 3.13 | no: a CA needs no key identifiers |
| the common name as a host name | if there is no alternative name | never |
| RSA keys of 1,024 bits | refused | accepted; SHA-1 signatures are refused by both |
| two CAs of the same name without key identifiers | one of them is tried | both are tried: `wrap_socket` only |

`tests/probes/test_trust.py` compares both, certificate by certificate.
"""

import ssl
from collections.abc import Callable
from pathlib import Path
from socket import socket

from probes._pem import CERTIFICATE, pem_blocks

_NEWEST_VERSION = 2  # version 3, as DER counts from 0
_SIGNATURE_FAILURE = 7  # X509_V_ERR_CERT_SIGNATURE_FAILURE: of several CAs of one name, OpenSSL has tried another


def tls_context(authorities: bytes | None = None) -> ssl.SSLContext:
    """A client's context that trusts the CAs in this PEM text only, or the system's if it is None.

    Raises ValueError if the text has no readable certificate.
    """
    context = _context()
    if authorities is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        add_authorities(context, authorities)
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def add_authorities(context: ssl.SSLContext, pem: bytes) -> None:
    """Also trust these CAs; raises ValueError if the text has no readable certificate."""
    if not [der for der in _certificates(pem) if _load(context, der)]:
        raise ValueError("no readable certificate in PEM")


def load_client_certificate(context: ssl.SSLContext, certificate: str | Path, key: str | Path | None = None) -> None:
    """Use a client certificate; raises OSError, for a key with a passphrase too: OpenSSL would ask on the terminal."""
    context.load_cert_chain(certificate, key, password="")


def wrap_socket(connect: Callable[[], socket], authorities: bytes | None, host: str) -> ssl.SSLSocket:
    """Connect and complete the handshake; raises ValueError and OSError.

    CAs of the same name, as after a renewal, are tried one by one; each takes a connection of its own.
    """
    try:
        return _handshake(connect, tls_context(authorities), host)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _SIGNATURE_FAILURE:
            for context in alternatives(authorities or b""):
                try:
                    return _handshake(connect, context, host)
                except ssl.SSLCertVerificationError:
                    continue
        raise


def alternatives(authorities: bytes) -> list[ssl.SSLContext]:
    """For each CA of a bundle, a context that trusts it only; empty for a single one."""
    anchors = _certificates(authorities)
    contexts = []
    for der in anchors if len(anchors) > 1 else []:
        context = _context()
        if _load(context, der):
            contexts.append(context)
    return contexts


def _handshake(connect: Callable[[], socket], context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    plain = connect()
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _certificates(pem: bytes) -> list[bytes]:
    """The certificates in DER that Go's `CertPool.AppendCertsFromPEM` would try."""
    blocks = (block for block in pem_blocks(pem) if block.label == CERTIFICATE and not block.headers)
    return [block.der for block in blocks if _version(block.der) <= _NEWEST_VERSION]


def _load(context: ssl.SSLContext, der: bytes) -> bool:
    """Trust a CA; False if it is not a certificate, which hides no other."""
    try:
        context.load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _version(der: bytes) -> int:
    """The version of a certificate: `Certificate { TBSCertificate { [0] { INTEGER` (RFC 5280, section 4.1)."""
    offset = 0
    for _sequence in range(2):
        length = der[offset + 1 : offset + 2]
        offset += 2 + (length[0] & 0x7F if length and length[0] & 0x80 else 0)
    version = der[offset : offset + 5]
    return version[4] if version[:4] == b"\xa0\x03\x02\x01" and len(version) == 5 else 0
