"""What of all that carries our label is left over, what is on its way out, and what is stuck. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubeprobe.catalog.setup import Creatable
from kubeprobe.vocabulary import LABEL_RUN

GRACE = timedelta(seconds=60)
"""After a run's outcome: its probe may be cleaning up after SIGTERM, and Kubernetes collects what the pod owned."""
UNKNOWN_AFTER = timedelta(hours=1)
"""What belongs to a run that the store does not know is removed at this age: longer than any probe runs."""
STUCK_AFTER = timedelta(minutes=5)
"""Something is stuck that is still there so long after its deletion."""


@dataclass(frozen=True)
class Found:
    """An object with our installation's label that is no probe's pod."""

    target: Creatable
    collection: str
    metadata: Mapping[str, Any] = field(compare=False)

    @property
    def uid(self) -> str:
        """Which very object it is."""
        return str(self.metadata["uid"])

    @property
    def run_id(self) -> str:
        """The run that it was made for."""
        return str(self.metadata["labels"][LABEL_RUN])

    @property
    def name(self) -> str:
        """`namespace/name`, or the name of what belongs to the cluster."""
        inside = self.metadata.get("namespace")
        return f"{inside}/{self.metadata['name']}" if inside else str(self.metadata["name"])

    @property
    def deleted_at(self) -> datetime | None:
        """When its deletion was due, if somebody asked for that."""
        since = self.metadata.get("deletionTimestamp")
        return datetime.fromisoformat(since) if since else None

    @property
    def owners(self) -> set[str]:
        """The UIDs of what owns it."""
        return {owner["uid"] for owner in self.metadata.get("ownerReferences") or ()}


@dataclass(frozen=True)
class Recalled:
    """What the store knows of the runs that objects were found of."""

    still_open: frozenset[str] = frozenset()
    ended: Mapping[str, datetime] = field(default_factory=dict)
    """When the outcome was stored."""


@dataclass(frozen=True)
class Decision:
    """What to do about it."""

    remove: Sequence[Found] = ()
    stuck: Sequence[tuple[Found, str]] = ()


def decide(found: Sequence[Found], recalled: Recalled, now: datetime) -> Decision:
    """What is left over. What goes with its owner or its namespace is not removed one by one."""
    over = [one for one in found if _is_over(one, recalled, now)]
    owners = {one.uid for one in over}
    namespaces = {one.name for one in over if one.target.qualified == "namespaces"}
    roots = [one for one in over if not one.owners & owners and one.metadata.get("namespace") not in namespaces]
    return Decision(
        remove=[one for one in roots if one.deleted_at is None],
        stuck=[(one, _why_stuck(one)) for one in roots if one.deleted_at and now - one.deleted_at >= STUCK_AFTER],
    )


def _is_over(found: Found, recalled: Recalled, now: datetime) -> bool:
    """Whether nobody is at it any more."""
    if found.run_id in recalled.still_open:
        return False
    if (ended := recalled.ended.get(found.run_id)) is not None:
        return now - ended >= GRACE
    return now - datetime.fromisoformat(found.metadata["creationTimestamp"]) >= UNKNOWN_AFTER


def _why_stuck(found: Found) -> str:
    finalizers = ", ".join(found.metadata.get("finalizers") or ())
    if finalizers:
        return f"finalizers {finalizers} have held it since {found.metadata['deletionTimestamp']}"
    return f"deleted, but still there since {found.metadata['deletionTimestamp']}"
