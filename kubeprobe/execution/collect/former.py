"""Follows the pods at locations that clusters of a collector have left, until none remains there (`locations`).

Apart from the renewal of leases: an address that does not respond, or a locked row, delays nothing else.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from kubeprobe.execution.collect.context import WatchContext, cancel_and_wait
from kubeprobe.execution.collect.watch import ClusterWatch
from kubeprobe.execution.locations import delete_locations, former_locations


class FormerLocations:
    """The watches of former locations, by location."""

    def __init__(self, context: WatchContext) -> None:
        self._context = context
        self._watches: dict[str, tuple[ClusterWatch, asyncio.Task[None]]] = {}

    def __iter__(self) -> Iterator[ClusterWatch]:
        """The watches."""
        return iter([watch for watch, _ in self._watches.values()])

    async def follow(self, present: Mapping[str, ClusterWatch], now: datetime) -> None:
        """Start and end watches. `present`: those of the present locations, by cluster."""
        store, locations = self._context.store, {name: watch.location for name, watch in present.items()}
        found = await asyncio.to_thread(former_locations, store, locations, now)
        drained = {location for location, (watch, _) in self._watches.items() if watch.is_drained}
        deleted = await asyncio.to_thread(delete_locations, store, found, drained, now)
        wanted = {row.id: row for row in found if row.id not in deleted}
        ended = [key for key, (_, task) in self._watches.items() if key not in wanted or task.done()]
        await self._end(ended)
        for location in wanted.keys() - self._watches.keys():
            row = wanted[location]
            watch = ClusterWatch(present[row.cluster].cluster, self._context, row.id, row)
            task = asyncio.create_task(watch.run(), name=f"watch {row.cluster} at a former location")
            self._watches[location] = (watch, task)

    def troubles(self) -> dict[str, str]:
        """What cannot be done at former locations, for people, by cluster."""
        found = defaultdict(list)
        for watch in self:
            if watch.trouble:
                found[watch.cluster.name].append(f"at its former location {watch.cluster.namespace}: {watch.trouble}")
        return {name: "; ".join(troubles) for name, troubles in found.items()}

    async def close(self) -> None:
        """End all watches; the next collector of a cluster starts them again."""
        await self._end(list(self._watches))

    async def _end(self, locations: Sequence[str]) -> None:
        tasks = [self._watches.pop(location)[1] for location in locations]
        await asyncio.gather(*map(cancel_and_wait, tasks))
