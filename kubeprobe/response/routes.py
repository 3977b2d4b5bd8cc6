"""Which targets are notified of an alert: all targets of every route that matches."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kubeprobe.catalog import Catalog
from kubeprobe.catalog.model import AlertRouteSpec, RouteTarget
from kubeprobe.store import Notification


class TargetRef(NamedTuple):
    """A target by name; its kind and address are in the catalog."""

    route: str
    target: str


@dataclass(frozen=True, slots=True)
class AlertAttributes:
    """The attributes of an alert that routes match."""

    case: str
    kind: str
    severity: str
    owner: str
    cluster_labels: Mapping[str, str]


def targets_for(catalog: Catalog, attributes: AlertAttributes) -> tuple[TargetRef, ...]:
    """The targets of an alert, in the order of the routes' names; none when no route matches."""
    return tuple(
        TargetRef(name, target.name)
        for name, route in sorted(catalog.routes.items())
        if _matches(route, attributes)
        for target in route.targets
    )


def find_target(catalog: Catalog, ref: TargetRef) -> RouteTarget | None:
    """The target with these names, if the catalog still has it."""
    route = catalog.routes.get(ref.route)
    if route is None:
        return None
    return next((target for target in route.targets if target.name == ref.target), None)


def target_of(notification: Notification) -> TargetRef:
    """The target of a notification."""
    return TargetRef(notification.route, notification.target)


def digest_of_target(target: RouteTarget | None) -> str:
    """Changes when the target's specification does; empty for a target that the catalog lacks.

    Without defaults, so that processes of versions with other fields agree.
    """
    return "" if target is None else hashlib.sha256(target.model_dump_json(exclude_defaults=True).encode()).hexdigest()


def _matches(route: AlertRouteSpec, attributes: AlertAttributes) -> bool:
    match = route.match
    return (
        attributes.kind in match.kinds
        and (match.severities is None or attributes.severity in match.severities)
        and (match.cases is None or attributes.case in match.cases)
        and (match.owners is None or attributes.owner in match.owners)
        and (match.cluster_selector is None or match.cluster_selector.matches(attributes.cluster_labels))
    )
