"""Masks credentials in text that is printed, logged or stored: every error of KubeProbe and every line of its log."""

import re

MASK = "***"
_SHOWN_SCHEMES = frozenset(
    {"http", "https", "ssh", "git", "file", "tcp", "unix", "amqp", "amqps"}
    | {"redis", "rediss", "valkey", "sqlite", "postgres", "postgresql"}
)
"""Addresses with these schemes are shown without credentials; of all others, such as Apprise's, only the scheme."""
_USERS_WITH_TOKENS = frozenset({"git", "gitlab-ci-token", "oauth2", "x-access-token", "x-token-auth"})
"""Names that go with a token as password. Any other user, as of http addresses, may itself be the token."""
_SCHEMES_WITH_USERS = frozenset({"amqp", "amqps", "redis", "rediss", "valkey"})
_NOT_IN_NAMES = re.compile(r"[@/?#]")
_HOST = r"(?:(?:[A-Za-z0-9_\-]++(?:\.[A-Za-z0-9_\-]++)++|localhost|\[[0-9A-Fa-f:.]++\])|(?<=file://))"
"""A name without a dot may be a token; without a name, what follows may be a password."""
_IMAGE = r"(?::\d{1,5})?+/[^\s'\"<>@:]*+@sha256:[0-9a-f]{64}"
"""Only before a digest a number is a port: elsewhere it may begin a password."""
_NEXT_ITEM = r"'[,:]['\[{(]"
"""The end of a quoted address in a list or mapping: `','`, `':'`."""
_PLAIN = (
    r"(?i:(?<=http://)|(?<=https://)|(?<=file://))"
    rf"{_HOST}(?:{_IMAGE}|(?=[/?#])[^\s\"<>@:']*+(?:{_NEXT_ITEM}|@(?:[^\s'\"<>@]*+{_NEXT_ITEM}|[^\s\"<>@]*+(?!@)))"
    rf"|{_NEXT_ITEM})"
)
"""A host, and at most one @, which belongs to the path: with a colon before it, it may end a password. In addresses of
databases and brokers it always does."""
_URL = re.compile(
    r"(?<![A-Za-z0-9+.\-])([A-Za-z][A-Za-z0-9+.\-]{0,30})://"
    rf"(?:(?={_PLAIN})([^\s'\"<>]*)"
    r"|((?!\*{3})(?:[^\s\"<>@]{0,500}@)++[^\s'\"<>]*|[^\s'\"<>]+))"  # a password may contain a quote; masked stays so
)
_SECRET_QUERY = re.compile(
    r"(?i)([?&;][^=&;\s]{0,40}(?:pass|pwd|token|secret|key|sig|auth|cred)[^=&;\s]{0,40}=)[^&;\s'\"<>]+"
)
_SECRET_PATH = re.compile(
    r"(?i)(hooks\.slack\.com/|/api/webhooks/|webhook\.office\.com/|/bot(?=\d{1,20}(?::|%3a)))[^\s'\"<>]{6,}"
)
_PATTERNS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+(?=[^\s]{0,200}[0-9A-Z=])[A-Za-z0-9._~+/=\-]{12,}"), rf"\1 {MASK}"),
    (re.compile(r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"), MASK),
    (re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)(?:(?!-----)[\s\S])+"), rf"\1{MASK}"),
)
"""Nothing follows what has no limit, or it cannot be part of it, so that each text is read in linear time."""


def mask_secrets(text: str) -> str:
    """The text with `***` for passwords and tokens in URLs, bearer tokens, JSON web tokens and private keys."""
    if "://" in text:
        text = _URL.sub(_mask_url, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _mask_url(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2] or found[3] or ""
    base = scheme.lower().partition("+")[0]
    if base not in _SHOWN_SCHEMES:
        return f"{scheme}://{MASK}"
    credentials, at, place = (found[3] or "").rpartition("@")
    if at:
        user, colon, password = credentials.partition(":")
        shown = user if _is_name(base, user, password) else MASK
        rest = f"{shown}{f':{MASK}' if colon else ''}@{place}"
    for pattern in (_SECRET_QUERY, _SECRET_PATH):
        rest = pattern.sub(rf"\1{MASK}", rest)
    return f"{scheme}://{rest}"


def _is_name(scheme: str, user: str, password: str) -> bool:
    """Whether the user of an address is the name of one. Services take a token as user, with any password or none."""
    if scheme == "ssh" or scheme.startswith("postgres"):
        return True
    return (
        bool(password)
        and not _NOT_IN_NAMES.search(user)
        and (scheme in _SCHEMES_WITH_USERS or user in _USERS_WITH_TOKENS)
    )
