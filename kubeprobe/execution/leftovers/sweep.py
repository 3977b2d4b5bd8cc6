"""One sweep of one cluster: list the objects with our label, delete the leftovers. Next: `repository` records it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kubeprobe.catalog.setup import Creatable
from kubeprobe.execution.leftovers.decide import FoundObject, RunStates, decide
from kubeprobe.fleet.errors import UNANSWERED, Cause, ClusterError
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.vocabulary import LABEL_CASE, LABEL_CHECK, LABEL_INSTALLATION, LABEL_RUN

AT_A_TIME = 4
"""Concurrent requests to one cluster: a sweep is not urgent."""
_NOT_THERE = frozenset({Cause.NOT_FOUND, Cause.NAMESPACE_MISSING})
GetRunStates = Callable[[Sequence[str]], Awaitable[RunStates]]


@dataclass
class Swept:
    """The result of one sweep."""

    removed: list[FoundObject] = field(default_factory=list)
    stuck: list[tuple[FoundObject, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """The UIDs of all listed objects."""
    listed: set[Creatable] = field(default_factory=set)
    not_allowed: set[str] = field(default_factory=set)
    """Missing rights, such as `list namespaces` or `delete deployments.apps`."""
    failed: dict[str, str] = field(default_factory=dict)
    """Other errors by right; the next sweep tries again."""

    def has_listed(self, target: Creatable) -> bool:
        """Whether an object of this kind that is not in `seen` no longer exists."""
        return target in self.listed or Creatable(target.group, target.resource) in self.listed


async def sweep(
    inventory: Inventory, targets: Iterable[Creatable], installation: str, get_run_states: GetRunStates, now: datetime
) -> Swept:
    """Delete the leftovers of runs that have ended.

    Probes' own pods are deleted by the cluster's watch. Other installations' objects are not touched. A kind that
    cannot be listed does not stop the others; raises ClusterError if the cluster is unreachable.
    """
    swept, slots = Swept(), asyncio.Semaphore(AT_A_TIME)
    selector = f"{LABEL_INSTALLATION}={installation},{LABEL_RUN},!{LABEL_CASE},!{LABEL_CHECK}"
    listed = await asyncio.gather(*(_list(inventory, target, selector, swept, slots) for target in targets))
    found = list({one.uid: one for part in listed for one in part}.values())
    swept.seen = {one.uid for one in found}
    if not found:
        return swept
    states = await get_run_states(sorted({one.run_id for one in found}))
    decision = decide(found, states, now, inventory.api.clock_offset)
    swept.stuck = list(decision.stuck)
    await asyncio.gather(*(_remove(inventory, one, swept, slots) for one in decision.remove))
    return swept


async def _list(
    inventory: Inventory, target: Creatable, selector: str, swept: Swept, slots: asyncio.Semaphore
) -> list[FoundObject]:
    try:
        async with slots:
            collection = await inventory.collection(target.group, target.resource, target.namespace)
            found = await inventory.find(collection, selector) if collection else []
    except ClusterError as error:
        if error.cause not in _NOT_THERE:
            _record_error(swept, f"list {target.qualified}", error)
            return []
        collection, found = "", []
    swept.listed.add(target)
    objects = [FoundObject(target, collection or "", metadata) for metadata in found]
    return [one for one in objects if one.is_readable]


async def _remove(inventory: Inventory, found: FoundObject, swept: Swept, slots: asyncio.Semaphore) -> None:
    try:
        async with slots:
            await inventory.delete(found.collection, dict(found.metadata))
    except ClusterError as error:
        _record_error(swept, f"delete {found.target.qualified}", error)
    else:
        swept.removed.append(found)


def _record_error(swept: Swept, right: str, error: ClusterError) -> None:
    if error.cause in UNANSWERED or error.cause is Cause.UNAUTHORIZED:
        raise error
    if error.cause is Cause.FORBIDDEN:
        swept.not_allowed.add(right)
    else:
        swept.failed[right] = error.message
