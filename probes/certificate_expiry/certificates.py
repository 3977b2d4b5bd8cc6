"""Reads certificates and describes their problems."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

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
    """Why there is no certificate; empty if there is one."""
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
    """The certificates of a PEM file, the server's own first, then its chain; or why there are none."""
    if not pem.strip():
        return [Finding(source, unreadable="no certificate: it is empty")]
    try:
        chain = x509.load_pem_x509_certificates(pem)
        return [_finding(source, certificate) for certificate in chain]
    except ValueError as error:
        return [Finding(source, unreadable=f"no readable certificate: {_first_line(error)}")]


def read_der(source: str, der: bytes) -> Finding:
    """A certificate as it comes from a TLS handshake; or why it cannot be read."""
    try:
        return _finding(source, x509.load_der_x509_certificate(der))
    except ValueError as error:
        return Finding(source, unreadable=f"no readable certificate: {_first_line(error)}")


def problems(findings: Iterable[Finding], now: datetime, warn_days: float, renewed: Container[str] = ()) -> list[str]:
    """The problems, the most urgent first: a truncated report keeps its first errors.

    `renewed`: cert-manager Certificates that are checked by their renewal, so that their issued certificates may be
    short-lived.
    """
    wrong = [(one, one.problem(now, 0 if one.certificate in renewed else warn_days)) for one in findings]
    wrong.sort(key=lambda pair: (pair[0].days_left(now) or 0.0, pair[0].source))
    return [problem for _finding, problem in wrong if problem]


def _finding(source: str, certificate: x509.Certificate) -> Finding:
    return Finding(source, _subject(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _subject(certificate: x509.Certificate) -> str:
    """`CN=web (SAN web.example.com, 10.0.0.1)`; at most three alternative names."""
    common = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    subject = f"CN={common[0]}" if common else certificate.subject.rfc4514_string() or "a nameless certificate"
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(name.value) for name in alternatives]
    except (x509.ExtensionNotFound, ValueError):  # ValueError: extensions that break the encoding rules
        names = []
    if not names:
        return subject
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{subject} (SAN {', '.join(names[:3])}{more})"


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
