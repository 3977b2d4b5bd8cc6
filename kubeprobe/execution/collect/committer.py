"""Committing what all watches of a collector found, in groups: one transaction for many outcomes.

Before it: `watch`. Next: responders are woken, held runs are launched into the room that was made, and only then does
each watch delete its pods (promise 3).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from structlog.contextvars import bound_contextvars

from kubeprobe.clock import Clock
from kubeprobe.effects import Effects, dispatch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.queue import Queue
from kubeprobe.runs import Ending, Judgement, close, held_runs
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.vocabulary import Reason, Verdict

log = structlog.get_logger(__name__)

LINGER_S = 0.02
GROUP = 300
PAUSE_S = 1.0
"""Between tries while the store is away."""


class Watch(Protocol):
    """Whoever found an ending and deletes its pod afterwards."""

    cluster: Cluster

    @property
    def live(self) -> int: ...
    async def finish(self, finished: "Finished") -> None: ...


@dataclass(frozen=True)
class Finished:
    """An ending on its way into the store. `seen` is None where there is no pod, `deleted` where it is gone already."""

    watch: Watch
    ending: Ending
    seen: PodObservation | None = None
    deleted: bool = False


class Committer:
    """Takes endings from many watches and stores them in groups."""

    def __init__(self, store: Store, queue: Queue, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._waiting: asyncio.Queue[Finished] = asyncio.Queue()
        self._finishing: set[asyncio.Task[None]] = set()

    def submit(self, finished: Finished) -> None:
        """Have an ending stored; `finished.watch.finish` is called once it is."""
        self._waiting.put_nowait(finished)

    async def run(self) -> None:
        """Commit group after group until cancelled. Pods not deleted by then are leftovers for the next collector."""
        try:
            while True:
                group = await self._next_group()
                refused = await self._commit_surely(group, _busy_clusters(group))
                for finished in group:
                    if finished.ending in refused:
                        continue  # no outcome, so the pod stays; the sweep ends the run when its time is up
                    task = asyncio.create_task(finished.watch.finish(finished))
                    self._finishing.add(task)
                    task.add_done_callback(self._finishing.discard)
        finally:
            for task in self._finishing:
                task.cancel()
            await asyncio.gather(*self._finishing, return_exceptions=True)

    async def _next_group(self) -> list[Finished]:
        """What has ended within a few tens of milliseconds."""
        group = [await self._waiting.get()]
        await asyncio.sleep(LINGER_S)
        while len(group) < GROUP and not self._waiting.empty():
            group.append(self._waiting.get_nowait())
        return group

    async def _commit_surely(self, group: Sequence[Finished], full: Sequence[str]) -> list[Ending]:
        """A store that is away is tried until it is back: nothing is forgotten, no pod is deleted meanwhile.

        An ending that cannot be stored keeps no other from it; gives those that were refused.
        """
        endings = [finished.ending for finished in group]
        while True:
            try:
                await asyncio.to_thread(self._commit, endings, full)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other outcomes must not wait for it
                if _is_contents_fault(error):
                    break
                log.error("store away; outcomes wait", outcomes=len(endings), error=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                return []
        return [finished.ending for finished in group if not await self._commit_alone(finished, full)]

    async def _commit_alone(self, finished: Finished, full: Sequence[str]) -> bool:
        """Store one ending as it is, or else what can be said of it without the probe's own words."""
        told = Judgement(Verdict.UNKNOWN, Reason.REPORT_GARBLED, "The store refuses what the probe said.")
        ending = finished.ending
        with bound_contextvars(cluster=finished.watch.cluster.name, run=ending.run_id, attempt=ending.attempt):
            for judgement in (ending.judgement, told):
                try:
                    await asyncio.to_thread(self._commit, [replace(ending, judgement=judgement)], full)
                except Exception as error:  # noqa: BLE001 - as above
                    log.error("outcome cannot be stored", reason=judgement.reason, error=str(error))
                else:
                    return True
        return False

    def _commit(self, endings: Sequence[Ending], full: Sequence[str]) -> None:
        """Store outcomes; then have them answered, and launch into the room that they made."""
        with self._store.writing() as session:
            ended = close(session, endings, self._clock())
            held = held_runs(session, full, limit=2 * len(endings)) if full else ()
        effects = Effects(launch=held, responders=int(bool(ended)))
        try:
            dispatch(self._queue, effects, self._settings.batch_size)
        except Exception:  # the outcomes are committed: beat sends what this did not
            log.exception("effects not dispatched")


def _is_contents_fault(error: Exception) -> bool:
    """The store is there and will never take this: refused by it, or by what brings it there."""
    if isinstance(error, DBAPIError):
        return isinstance(error, (DataError, IntegrityError))
    return not isinstance(error, SQLAlchemyError) or isinstance(error, StatementError)


def _busy_clusters(group: Sequence[Finished]) -> list[str]:
    """Those of whose cap half was in flight: runs may be waiting for room. Elsewhere looking would be a waste."""
    ended = Counter(finished.watch for finished in group)
    return sorted(w.cluster.name for w, count in ended.items() if w.live + count >= w.cluster.max_in_flight // 2)
