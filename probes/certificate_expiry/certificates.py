"""Reads certificates and describes their problems."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from probes._pem import CERTIFICATE, pem_blocks

_LABELS = (CERTIFICATE, "X509 CERTIFICATE")
CLOCK_TOLERANCE = timedelta(minutes=5)
"""A new certificate from a machine with a fast clock is not a problem."""


@dataclass(frozen=True)
class Finding:
    """A certificate, or invalid data in its place."""

    source: str
    """`secret default/web-tls` or `endpoint api.example.com:443`."""
    subject: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    unreadable: str = ""
    """Why there is no usable certificate; empty if there is one."""
    certificate: str = ""
    """The cert-manager Certificate that it belongs to, as `namespace/name`; empty if none."""

    def days_left(self, now: datetime) -> float | None:
        """Days until it expires, negative afterwards; None without a certificate."""
        return None if self.not_after is None else (self.not_after - now) / timedelta(days=1)

    def problem(self, now: datetime, warn_days: float) -> str:
        """Its problem, empty if there is none."""
        left = self.days_left(now)
        if left is None or self.not_after is None or self.not_before is None:
            return f"{self.source}: {self.unreadable}"
        if left <= 0:
            return f"{self.source}: {self.subject} expired on {_day(self.not_after)}, {-left:.1f} days ago"
        if self.not_before > now + CLOCK_TOLERANCE:
            ahead = (self.not_before - now) / timedelta(days=1)
            return f"{self.source}: {self.subject} is not valid before {_day(self.not_before)}, in {ahead:.1f} days"
        if left < warn_days:
            return (
                f"{self.source}: {self.subject} expires on {_day(self.not_after)}, "
                f"{left:.1f} days left (WARN_DAYS is {warn_days:g})"
            )
        return ""


def read_pem(source: str, pem: bytes) -> list[Finding]:
    """The certificates of a PEM text, the server's own first, then its chain, each or why it cannot be read."""
    if not pem.strip():
        return [Finding(source, unreadable="no certificate: it is empty")]
    blocks = certificate_blocks(pem)
    if not blocks:
        return [Finding(source, unreadable="no readable certificate: no PEM block CERTIFICATE")]
    if len(blocks) == 1:
        return [read_der(source, blocks[0])]
    findings = (read_der(source, der) for der in blocks)
    return [
        replace(one, unreadable=f"certificate {number} of {len(blocks)}: {one.unreadable}") if one.unreadable else one
        for number, one in enumerate(findings, 1)
    ]


def certificate_blocks(pem: bytes) -> list[bytes]:
    """The certificates of a PEM text in DER, not parsed; empty where the base64 is invalid."""
    return [block.der for block in pem_blocks(pem) if block.label in _LABELS]


def read_der(source: str, der: bytes) -> Finding:
    """A certificate in DER, or why it cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return Finding(source, subject_of(certificate), begins, ends)
    except Exception as error:  # noqa: BLE001 - cryptography has several kinds, such as InvalidVersion; one hides no other
        return Finding(source, unreadable=f"no readable certificate: {_first_line(error)}")


def sorted_problems(
    findings: Iterable[Finding], now: datetime, warn_days: float, renewed: Container[str] = ()
) -> list[str]:
    """The problems, the most urgent first: a truncated report keeps its first errors.

    `renewed`: cert-manager Certificates that are checked by their renewal, so that their issued certificates may be
    short-lived.
    """
    found = [(one, one.problem(now, 0 if one.certificate in renewed else warn_days)) for one in findings]
    found.sort(key=lambda pair: (pair[0].days_left(now) or 0.0, pair[0].source))
    return [problem for _finding, problem in found if problem]


def subject_of(certificate: x509.Certificate) -> str:
    """`CN=web (SAN web.example.com, 10.0.0.1)`; at most three alternative names."""
    common = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    subject = f"CN={common[0]}" if common else certificate.subject.rfc4514_string() or "certificate without a name"
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(name.value) for name in alternatives]
    except Exception:  # noqa: BLE001 - none, or of unknown kinds, or against the encoding rules: the dates are what counts
        names = []
    if not names:
        return subject
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{subject} (SAN {', '.join(names[:3])}{more})"


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
