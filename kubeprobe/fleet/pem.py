"""PEM as Go reads it: which certificates and which key of a file count. Everything else in the file is left out.

Rules: crypto/x509 CertPool.AppendCertsFromPEM and crypto/tls X509KeyPair.
"""

import base64
import re
import ssl

from kubeprobe.errors import InvalidInputError

MOST_AUTHORITIES = 1000
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----[ \t\r]*\n((?:[^-]|-(?!----))*+)-----END \1-----")


def read_authorities(pem: bytes) -> str:
    """The certificates of a bundle that can be used. Raises InvalidInputError if there are none."""
    found, context = _blocks(pem, "CERTIFICATE"), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if len(found) > MOST_AUTHORITIES:
        raise InvalidInputError(f"has {len(found)} certificates; expected at most {MOST_AUTHORITIES}")
    usable = [block for block in found if _is_certificate(block, context)]
    if not usable:
        raise InvalidInputError("has no certificate; expected PEM (-----BEGIN CERTIFICATE-----)")
    return "".join(usable)


def read_certificates(pem: bytes) -> str:
    """A client's certificate and those that lead to its authority. Raises InvalidInputError if there are none."""
    found = _blocks(pem, "CERTIFICATE")
    if not found:
        raise InvalidInputError("has no certificate; expected PEM (-----BEGIN CERTIFICATE-----)")
    return "".join(found)


def read_key(pem: bytes) -> str:
    """The first private key. Raises InvalidInputError if there is none, or if it has a passphrase."""
    for match in _BLOCK.finditer(pem):
        name = match[1].decode()
        if name == "ENCRYPTED PRIVATE KEY" or (name.endswith("PRIVATE KEY") and b"ENCRYPTED" in match[2]):
            raise InvalidInputError(
                "has a passphrase, which nobody can type for a run; expected a key without one: "
                "openssl pkey -in KEY -out KEY-WITHOUT-PASSPHRASE"
            )
        if name.endswith("PRIVATE KEY"):
            return _block(name, match[2])
    raise InvalidInputError("has no private key; expected PEM (-----BEGIN PRIVATE KEY-----)")


def _blocks(pem: bytes, name: str) -> list[str]:
    return [
        _block(name, match[2])
        for match in _BLOCK.finditer(pem)
        if match[1].decode() == name and b":" not in match[2]  # Go leaves out blocks with headers
    ]


def _block(name: str, body: bytes) -> str:
    return f"-----BEGIN {name}-----\n{body.decode(errors='replace').strip()}\n-----END {name}-----\n"


def _is_certificate(block: str, context: ssl.SSLContext) -> bool:
    try:
        der = base64.b64decode("".join("".join(block.splitlines()[1:-1]).split()), validate=True)
        context.load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError):
        return False
    return True
