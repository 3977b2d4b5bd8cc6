"""Kubernetes resource quantities (`100m`, `64Mi`) as numbers. Pure."""

import re
from decimal import Decimal

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([a-zA-Z]*)$")


def parse_quantity(value: str | float) -> Decimal:
    """The value of a quantity. Raises `ValueError` for an invalid one."""
    found = _QUANTITY.match(str(value))
    if not found or found[2] not in _SUFFIXES:
        raise ValueError(f"not a quantity: {value!r}")
    return Decimal(found[1]) * _SUFFIXES[found[2]]
