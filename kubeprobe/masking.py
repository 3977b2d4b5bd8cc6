"""Masks credentials in text that is printed, logged or stored: every error of KubeProbe and every line of its log."""

import re

MASK = "***"
_SHOWN_SCHEMES = frozenset(
    {"http", "https", "ssh", "git", "file", "tcp", "unix", "amqp", "amqps"}
    | {"redis", "rediss", "valkey", "sqlite", "postgres", "postgresql"}
)
"""Addresses with these schemes are shown without credentials; of all others, such as Apprise's, only the scheme."""
_URL = re.compile(r"(?<![A-Za-z0-9+.\-])([A-Za-z][A-Za-z0-9+.\-]{0,30})://([^\s'\"<>]{1,2000})")
_SECRET_QUERY = re.compile(
    r"(?i)([?&;][^=&;\s]{0,40}(?:pass|pwd|token|secret|key|sig|auth|cred)[^=&;\s]{0,40}=)[^&;\s'\"<>]{1,2000}"
)
_SECRET_PATH = re.compile(
    r"(?i)(hooks\.slack\.com/|/api/webhooks/|webhook\.office\.com/|/bot(?=\d{1,20}(?::|%3a)))[^\s'\"<>]{6,2000}"
)
_PATTERNS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+(?=[^\s]{0,200}[0-9A-Z=])[A-Za-z0-9._~+/=\-]{12,4000}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_\-]{8,4000}\.[A-Za-z0-9_\-]{1,4000}\.[A-Za-z0-9_\-]{0,4000}"), MASK),
    (re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)[^-]{1,20000}"), rf"\1{MASK}"),
)


def mask_secrets(text: str) -> str:
    """The text with `***` for passwords and tokens in URLs, bearer tokens, JSON web tokens and private keys."""
    if "://" in text:
        text = _URL.sub(_mask_url, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _mask_url(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2]
    base = scheme.lower().partition("+")[0]
    if base not in _SHOWN_SCHEMES:
        return f"{scheme}://{MASK}"
    credentials, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        is_name = bool(colon) or base == "ssh" or base.startswith("postgres")
        rest = f"{user if is_name else MASK}{f':{MASK}' if colon else ''}@{place}"
    for pattern in (_SECRET_QUERY, _SECRET_PATH):
        rest = pattern.sub(rf"\1{MASK}", rest)
    return f"{scheme}://{rest}"
