"""TLS Secrets: their certificates, and whether the private key belongs to them."""

import base64
from dataclasses import replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from probes._pem import pem_blocks
from probes.certificate_expiry import certmanager
from probes.certificate_expiry.certificates import Finding, certificate_blocks, read_pem, subject_of

Json = dict[str, Any]
_ENCRYPTED = "ENCRYPTED PRIVATE KEY"


def name_of(secret: Json) -> str:
    """`namespace/name`."""
    return f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"


def read_secret(secret: Json) -> list[Finding]:
    """The certificates in a Secret's `tls.crt`, or why there are none; one more finding if `tls.key` is not their key.

    With another key the next reload of an ingress controller fails, or it serves its default certificate.
    """
    source = f"secret {name_of(secret)}"
    renewed_for = certmanager.certificate_of(secret)
    data = secret.get("data") or {}
    try:
        pem = base64.b64decode(data.get("tls.crt") or "", validate=True)
        key = base64.b64decode(data.get("tls.key") or "", validate=True)
    except ValueError as error:
        return [Finding(source, unreadable=f"no readable certificate: {error}")]
    findings = read_pem(source, pem)
    if not findings[0].unreadable and (problem := key_problem(pem, key)):
        findings.append(Finding(source, unreadable=problem))
    return [replace(finding, certificate=renewed_for) for finding in findings]


def key_problem(pem: bytes, key_pem: bytes) -> str:
    """Why a server cannot use this key with the first certificate; empty if it can. It never has any of the key."""
    if not key_pem.strip():
        return "no private key: tls.key is empty"
    # As Go's tls.X509KeyPair: the first block of a private key counts, others such as EC PARAMETERS are skipped.
    block = next((one for one in pem_blocks(key_pem) if one.label.endswith("PRIVATE KEY")), None)
    if block is None:
        return "no readable private key: tls.key has no PEM block PRIVATE KEY"
    if block.label == _ENCRYPTED or block.headers:
        return "no readable private key: tls.key is encrypted, expected a key without a passphrase"
    try:
        key = load_der_private_key(block.der, None, unsafe_skip_rsa_key_validation=True)  # validation takes 100 ms
    except Exception:  # noqa: BLE001 - ValueError, TypeError, UnsupportedAlgorithm; the text might show some of the key
        return f"no readable private key: the block {block.label} in tls.key is invalid or of an unknown algorithm"
    return _mismatch(_encoded(key.public_key()), certificate_blocks(pem))


def _mismatch(public: bytes, chain: list[bytes]) -> str:
    own = x509.load_der_x509_certificate(chain[0])
    if _key_in(chain[0]) in (public, b""):
        return ""
    problem = f"its private key (tls.key) does not belong to its certificate {subject_of(own)}"
    for number, der in enumerate(chain[1:], 2):
        if _key_in(der) == public:
            return f"{problem}, but to certificate {number} of {len(chain)}: the server's own must be the first"
    return problem


def _key_in(der: bytes) -> bytes:
    """The public key in a certificate; empty if it cannot be compared, as its algorithm is unknown."""
    try:
        return _encoded(x509.load_der_x509_certificate(der).public_key())
    except Exception:  # noqa: BLE001 - cryptography has several kinds
        return b""


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
