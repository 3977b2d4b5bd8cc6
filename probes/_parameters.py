"""A case's parameters, from the environment. An invalid one ends the run as unknown, with the reason."""

import math
import os
import re

from kubeprobe_client import give_up


def text(name: str, default: str) -> str:
    """A parameter's text; the default if it is absent or blank."""
    return os.environ.get(name, "").strip() or default


def number(name: str, default: float) -> float:
    """A parameter that must be a finite number, zero or more."""
    given = text(name, str(default))
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        give_up(f"parameter {name}={given!r}: expected a number, zero or more, such as {default:g}")
    return value


def words(name: str) -> list[str]:
    """A list parameter, separated by commas or white space."""
    return [word for word in re.split(r"[,\s]+", text(name, "")) if word]
