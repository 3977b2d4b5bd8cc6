"""Which labelled objects are leftovers, and which are stuck in deletion. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubeprobe.catalog.setup import Creatable
from kubeprobe.vocabulary import LABEL_RUN

GRACE = timedelta(seconds=60)
"""After a run's outcome: its probe may clean up after SIGTERM, and Kubernetes deletes what the pod owned."""
UNKNOWN_AFTER = timedelta(hours=1)
"""The age at which objects of an unknown run are deleted: longer than any probe runs."""
STUCK_AFTER = timedelta(minutes=5)
"""An object is stuck if it still exists so long after its deletion."""


@dataclass(frozen=True)
class FoundObject:
    """An object with our installation's label that is not a probe's pod."""

    target: Creatable
    collection: str
    metadata: Mapping[str, Any] = field(compare=False)

    @property
    def is_readable(self) -> bool:
        """Whether it has all that the other properties need: a malformed object must not end a sweep."""
        try:
            datetime.fromisoformat(self.metadata["creationTimestamp"])
            _ = (self.uid, self.run_id, self.name, self.deleted_at, self.owners)
        except (LookupError, TypeError, ValueError, AttributeError):
            return False
        return True

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self.metadata["uid"])

    @property
    def run_id(self) -> str:
        """The run that created it."""
        return str(self.metadata["labels"][LABEL_RUN])

    @property
    def name(self) -> str:
        """`namespace/name`, or the name of a cluster-scoped object."""
        inside = self.metadata.get("namespace")
        return f"{inside}/{self.metadata['name']}" if inside else str(self.metadata["name"])

    @property
    def deleted_at(self) -> datetime | None:
        """Its deletionTimestamp."""
        since = self.metadata.get("deletionTimestamp")
        return datetime.fromisoformat(since) if since else None

    @property
    def owners(self) -> set[str]:
        """The UIDs of its owners."""
        return {owner["uid"] for owner in self.metadata.get("ownerReferences") or ()}


@dataclass(frozen=True)
class RunStates:
    """The states, in the store, of the runs of found objects."""

    still_open: frozenset[str] = frozenset()
    ended: Mapping[str, datetime] = field(default_factory=dict)
    """Run id -> when the outcome was stored."""


@dataclass(frozen=True)
class Decision:
    """The objects to delete, and the stuck ones with why."""

    remove: Sequence[FoundObject] = ()
    stuck: Sequence[tuple[FoundObject, str]] = ()


def decide(
    found: Sequence[FoundObject], runs: RunStates, now: datetime, clock_offset: timedelta = timedelta(0)
) -> Decision:
    """Select the leftovers. Objects that Kubernetes deletes with their owner or namespace are left out.

    `clock_offset`: of the cluster's clock, which the times in objects are of.
    """
    theirs = now + clock_offset
    over = [one for one in found if _is_over(one, runs, now, theirs)]
    owners = {one.uid for one in over}
    namespaces = {one.name for one in over if one.target.qualified == "namespaces"}
    roots = [one for one in over if not one.owners & owners and one.metadata.get("namespace") not in namespaces]
    return Decision(
        remove=[one for one in roots if one.deleted_at is None],
        stuck=[(one, _why_stuck(one)) for one in roots if one.deleted_at and theirs - one.deleted_at >= STUCK_AFTER],
    )


def _is_over(found: FoundObject, runs: RunStates, now: datetime, theirs: datetime) -> bool:
    """Whether the object's run has ended long enough ago. `theirs`: the time by the cluster's clock."""
    if found.run_id in runs.still_open:
        return False
    if (ended := runs.ended.get(found.run_id)) is not None:
        return now - ended >= GRACE
    return theirs - datetime.fromisoformat(found.metadata["creationTimestamp"]) >= UNKNOWN_AFTER


def _why_stuck(found: FoundObject) -> str:
    finalizers = ", ".join(found.metadata.get("finalizers") or ())
    if finalizers:
        return f"finalizers {finalizers} have blocked its deletion since {found.metadata['deletionTimestamp']}"
    return f"deleted, but still exists; deletion time {found.metadata['deletionTimestamp']}"
