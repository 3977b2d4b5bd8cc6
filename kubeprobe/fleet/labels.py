"""The syntax of names and labels, as Kubernetes defines it.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set.
Each function returns the problem, or None.
"""

import re
from typing import Any

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LENGTH = 63
_PREFIX_LENGTH = 253


def name_problem(name: str) -> str | None:
    """The problem of a name (RFC 1123 label)."""
    if len(name) > _LENGTH:
        return f"{name!r} has {len(name)} characters; at most {_LENGTH} are allowed"
    if not _DNS_LABEL.fullmatch(name):
        return f"{name!r} is not a valid name: expected a-z, 0-9 and '-', starting and ending with a letter or digit"
    return None


def node_problem(name: str) -> str | None:
    """The problem of a node's name (RFC 1123 subdomain)."""
    if len(name) > _PREFIX_LENGTH or not _DNS_SUBDOMAIN.fullmatch(name):
        return f"{name!r} is not a valid node name: expected up to {_PREFIX_LENGTH} of a-z, 0-9, '-' and '.'"
    return None


def key_problem(key: str) -> str | None:
    """The problem of a label key: NAME or PREFIX/NAME."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _PREFIX_LENGTH or not _DNS_SUBDOMAIN.fullmatch(prefix)):
        return f"the prefix of label key {key!r} is not a domain name of at most {_PREFIX_LENGTH} characters"
    if len(name) > _LENGTH or not _LABEL.fullmatch(name):
        return f"label key {key!r} must be {_rule()}"
    return None


def value_problem(value: Any) -> str | None:
    """The problem of a label value; an empty one is allowed."""
    if not isinstance(value, str):
        return f"label value {value!r} is not a string; put it in quotes"
    if value and (len(value) > _LENGTH or not _LABEL.fullmatch(value)):
        return f"label value {value!r} must be empty, or {_rule()}"
    return None


def _rule() -> str:
    return f"1 to {_LENGTH} letters, digits, '-', '_' and '.', starting and ending with a letter or digit"
