"""The queries (names inside and outside of the cluster, and addresses) with their right answers."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import dns.exception
import dns.name
import dns.reversename

Kind = Literal["inside", "outside", "reverse"]


@dataclass(frozen=True)
class Query:
    """A name and a record type. Without `expected` every record of that type is right."""

    kind: Kind
    name: str
    record: str
    """`A`, `AAAA` or `PTR`."""
    expected: frozenset[str] = frozenset()
    """Addresses, or names without a trailing dot: the answer must have exactly these."""

    def __str__(self) -> str:
        return f"{self.name} {self.record}"


def of_service(name: str, namespace: str, addresses: Iterable[str], domain: str) -> list[Query]:
    """A Service's name must resolve to its cluster addresses, and each of these to its name."""
    full = f"{name}.{namespace}.svc.{domain}"
    by_record: dict[str, set[str]] = {}
    for address in addresses:
        by_record.setdefault(record_of(address), set()).add(address)
    forward = [Query("inside", full, record, frozenset(known)) for record, known in sorted(by_record.items())]
    return forward + [reverse(address, full) for known in by_record.values() for address in sorted(known)]


def inside(word: str, domain: str) -> Query:
    """A query of INSIDE_NAMES: `SERVICE.NAMESPACE` or a full name, each with or without `=ADDRESS`.

    Raises ValueError.
    """
    name, expected = _split(word)
    full = name if name.endswith(f".{domain}") else f"{name}.svc.{domain}"
    return _forward("inside", full, expected)


def outside(word: str) -> Query:
    """A query of OUTSIDE_NAMES: `NAME` or `NAME=ADDRESS`. Raises ValueError."""
    return _forward("outside", *_split(word))


def reverse(address: str, name: str) -> Query:
    """A query for the name of an address."""
    pointer = str(dns.reversename.from_address(address)).rstrip(".")
    return Query("reverse", pointer, "PTR", frozenset({name}))


def record_of(address: str) -> str:
    """The record type of an address; raises ValueError for an invalid one."""
    return "A" if ipaddress.ip_address(address).version == 4 else "AAAA"


def _forward(kind: Kind, name: str, expected: str) -> Query:
    return Query(kind, name, record_of(expected) if expected else "A", frozenset({expected} if expected else set()))


def _split(word: str) -> tuple[str, str]:
    name, equals, address = word.partition("=")
    name = name.rstrip(".").lower()
    if not name:
        raise ValueError(f"{word!r}: the name is missing; expected NAME or NAME=ADDRESS")
    try:
        dns.name.from_text(name)
        return name, str(ipaddress.ip_address(address)) if equals else ""
    except (ValueError, dns.exception.DNSException) as error:
        raise ValueError(f"{word!r}: {error}; expected NAME or NAME=ADDRESS") from error
