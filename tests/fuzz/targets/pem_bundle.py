"""A PEM text of a Secret or a caBundle: certificates and keys."""

from contextlib import suppress

from probes._trust import tls_context
from probes.certificate_expiry.certificates import read_pem
from probes.certificate_expiry.tls_secrets import key_problem
from tests.probes.certificates import certificate_of_version_4, expiring_certificate

_CERTIFICATE, _KEY = expiring_certificate(90, "web", ("web.example.com",))
SEEDS = (_CERTIFICATE + _KEY, certificate_of_version_4("later") + _CERTIFICATE, _KEY)


def fuzz(data: bytes) -> None:
    """Every text leads to findings; it is trusted, or refused as one without a certificate."""
    findings = read_pem("secret a/b", data)
    assert findings
    if not findings[0].unreadable:
        key_problem(data, data)
    with suppress(ValueError):
        tls_context(data)
