"""One sweep of one cluster: list what carries our label, remove what is left over. Next: `book` notes it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kubeprobe.catalog.setup import Creatable
from kubeprobe.execution.leftovers.decide import Found, Recalled, decide
from kubeprobe.fleet.check_pod import LABEL_CHECK
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.vocabulary import LABEL_CASE, LABEL_INSTALLATION, LABEL_RUN

AT_A_TIME = 4
"""Requests to one cluster: nobody waits for a sweep."""
_NOT_THERE = frozenset({Cause.NOT_FOUND, Cause.NAMESPACE_MISSING})
Recall = Callable[[Sequence[str]], Awaitable[Recalled]]


@dataclass
class Swept:
    """What one sweep did and found."""

    removed: list[Found] = field(default_factory=list)
    stuck: list[tuple[Found, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """The UIDs of everything that was listed."""
    listed: set[Creatable] = field(default_factory=set)
    not_allowed: set[str] = field(default_factory=set)
    """`list namespaces`, `delete deployments.apps`: rights that KubeProbe's user lacks."""
    failed: dict[str, str] = field(default_factory=dict)
    """What else a request was answered with, by the right: the next sweep asks again."""

    def has_listed(self, target: Creatable) -> bool:
        """Whether what is not among `seen` there is gone."""
        return target in self.listed or Creatable(target.group, target.resource) in self.listed


async def sweep(
    inventory: Inventory, targets: Iterable[Creatable], installation: str, recall: Recall, now: datetime
) -> Swept:
    """Remove what is left over of runs that have ended. `recall` tells what is known of runs.

    Probes' own pods are left to the cluster's watch, and other installations' things to these. One kind that cannot
    be listed hides no other; raises ClusterError where the cluster does not answer at all.
    """
    swept, slots = Swept(), asyncio.Semaphore(AT_A_TIME)
    selector = f"{LABEL_INSTALLATION}={installation},{LABEL_RUN},!{LABEL_CASE},!{LABEL_CHECK}"
    listed = await asyncio.gather(*(_list(inventory, target, selector, swept, slots) for target in targets))
    found = list({one.uid: one for part in listed for one in part}.values())
    swept.seen = {one.uid for one in found}
    if not found:
        return swept
    decision = decide(found, await recall(sorted({one.run_id for one in found})), now)
    swept.stuck = list(decision.stuck)
    await asyncio.gather(*(_remove(inventory, one, swept, slots) for one in decision.remove))
    return swept


async def _list(
    inventory: Inventory, target: Creatable, selector: str, swept: Swept, slots: asyncio.Semaphore
) -> list[Found]:
    try:
        async with slots:
            collection = await inventory.collection(target.group, target.resource, target.namespace)
            found = await inventory.find(collection, selector) if collection else []
    except ClusterError as error:
        if error.cause not in _NOT_THERE:
            _note(swept, f"list {target.qualified}", error)
            return []
        collection, found = "", []
    swept.listed.add(target)
    return [Found(target, collection or "", metadata) for metadata in found]


async def _remove(inventory: Inventory, found: Found, swept: Swept, slots: asyncio.Semaphore) -> None:
    try:
        async with slots:
            await inventory.delete(found.collection, dict(found.metadata))
    except ClusterError as error:
        _note(swept, f"delete {found.target.qualified}", error)
    else:
        swept.removed.append(found)


def _note(swept: Swept, right: str, error: ClusterError) -> None:
    if error.cause in {Cause.CLUSTER_UNREACHABLE, Cause.UNAUTHORIZED}:
        raise error
    if error.cause is Cause.FORBIDDEN:
        swept.not_allowed.add(right)
    else:
        swept.failed[right] = error.message
