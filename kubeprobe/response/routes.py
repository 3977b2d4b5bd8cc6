"""Which targets are told of an alert: every route that matches tells all of its targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.model import AlertRouteSpec, RouteTarget


class Address(NamedTuple):
    """A target by its names; what it is and where stays in the catalog."""

    route: str
    target: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a route may ask about an alert."""

    case: str
    kind: str
    severity: str
    owner: str
    cluster_labels: Mapping[str, str]


def addresses_for(catalog: Catalog, facts: Facts) -> tuple[Address, ...]:
    """Where to tell of an alert, in the order of the routes' names; none when no route matches."""
    return tuple(
        Address(name, target.name)
        for name, route in sorted(catalog.routes.items())
        if _matches(route, facts)
        for target in route.targets
    )


def target_at(catalog: Catalog, address: Address) -> RouteTarget | None:
    """The target that an address names, if the catalog still has it."""
    route = catalog.routes.get(address.route)
    if route is None:
        return None
    return next((target for target in route.targets if target.name == address.target), None)


def _matches(route: AlertRouteSpec, facts: Facts) -> bool:
    match = route.match
    return (
        facts.kind in match.kinds
        and (match.severities is None or facts.severity in match.severities)
        and (match.cases is None or facts.case in match.cases)
        and (match.owners is None or facts.owner in match.owners)
        and (match.cluster_selector is None or match.cluster_selector.matches(facts.cluster_labels))
    )
