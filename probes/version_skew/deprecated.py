"""Deprecated API versions that clients still request, from an API server's own metrics."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

_REQUESTED = re.compile(r"^apiserver_requested_deprecated_apis\{([^}]*)\} (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, order=True)
class Deprecated:
    """An API that has been requested since the API server started."""

    removed_release: str
    """`1.40`; empty if no removal is planned."""
    api: str
    """`policy/v1beta1/poddisruptionbudgets`, `v1/componentstatuses`."""

    def __str__(self) -> str:
        when = f"Kubernetes {self.removed_release} removes it" if self.removed_release else "no removal is planned yet"
        return f"API {self.api} is deprecated, but was requested since the API server started; {when}"


def requested(metrics: str) -> Iterator[Deprecated]:
    """The deprecated APIs in the metrics of an API server."""
    for labels, value in _REQUESTED.findall(metrics):
        if float(value) > 0:
            values = dict(_LABEL.findall(labels))
            names = [values.get("group"), values.get("version"), values.get("resource"), values.get("subresource")]
            yield Deprecated(values.get("removed_release", ""), "/".join(name for name in names if name))


def describe(found: set[Deprecated], ignored: list[str]) -> list[str]:
    """Those that no pattern ignores, sorted by the release that removes them."""
    reported = [one for one in found if not any(fnmatchcase(one.api, pattern) for pattern in ignored)]
    reported.sort(key=lambda one: (not one.removed_release, _release(one.removed_release), one.api))
    return [str(one) for one in reported]


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(".") if number.isdigit())
