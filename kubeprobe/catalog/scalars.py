"""What a plain YAML scalar means: in the catalog's own fields, and in Kubernetes objects as kubectl reads them.

The catalog follows YAML 1.2's core schema: `yes` is text, `0400` is 400. kubectl follows YAML 1.1 as go-yaml v2 has it:
`yes` is true, `0400` is 256. Next: `yamlfile` reads documents with it.
"""

import re
from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType

from kubeprobe.fleet.kubernetes_yaml import read_plain_scalar

Scalar = str | int | float | bool | None
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_INF, _NAN = float("inf"), float("nan")
_MAX_DIGITS = 1000
"""Of a number; far beyond what can be stored, and below what Python refuses to convert."""
_FIRST_OF_A_NUMBER = frozenset("+-.0123456789")


def _cases(*words: str) -> list[str]:
    return [spelt for word in words for spelt in (word, word.capitalize(), word.upper())]


_COMMON: Mapping[str, Scalar] = MappingProxyType(
    {
        "": None,
        "~": None,
        **dict.fromkeys(_cases("null"), None),
        **dict.fromkeys(_cases("true"), True),
        **dict.fromkeys(_cases("false"), False),
        **{f"{sign}.{word}": _INF for sign in ("", "+") for word in ("inf", "Inf", "INF")},
        **{f"-.{word}": -_INF for word in ("inf", "Inf", "INF")},
        **{f".{word}": _NAN for word in ("nan", "NaN", "NAN")},
    }
)


def read_plain(text: str) -> Scalar:
    """The value of a plain scalar by YAML 1.2's core schema; `_` may group digits."""
    if text in _COMMON:
        return _COMMON[text]
    if text[0] not in _FIRST_OF_A_NUMBER or len(text) > _MAX_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        digits = text.replace("_", "").lower()
        is_prefixed = digits.lstrip("+-").startswith(("0x", "0o", "0b"))
        return int(digits, 0) if is_prefixed else int(digits)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def read_plain_as_kubectl(text: str) -> Scalar:
    """The value that kubectl sends for a plain scalar. A float without a fraction is an integer, which JSON allows."""
    value = read_plain_scalar(text)
    return int(value) if isinstance(value, float) and isfinite(value) and value.is_integer() else value


def is_text_for_kubectl(text: str) -> bool:
    """Whether kubectl reads this text, without quotes, as text; if not, it needs quotes."""
    return isinstance(read_plain_as_kubectl(text), str)
