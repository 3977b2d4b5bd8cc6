"""Certificates and keys in PEM."""

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.pem import read_authorities, read_certificates, read_key

SEEDS = (
    b"""a comment
-----BEGIN CERTIFICATE-----
TUlJQg==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
TUlJQg==
-----END PRIVATE KEY-----
""",
    b"""-----BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,00

TUlJQg==
-----END RSA PRIVATE KEY-----
""",
    b"""-----BEGIN CERTIFICATE-----
-----BEGIN CERTIFICATE-----
A-B
-----END CERTIFICATE-----
""",
)


def fuzz(data: bytes) -> None:
    """The documented error, or PEM that is read the same again."""
    for read in (read_authorities, read_certificates, read_key):
        try:
            found = read(data)
        except InvalidInputError:
            continue
        assert read(found.encode()) == found
