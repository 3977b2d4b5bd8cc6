"""Commits the endings of all watches of a collector in groups: one transaction for many outcomes.

Before it: `watch`. Next: responders are woken, held runs are launched, and only then does each watch delete its pods
(promise 3).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from structlog.contextvars import bound_contextvars

from kubeprobe.clock import Clock
from kubeprobe.effects import Effects, dispatch
from kubeprobe.execution.collect.observation import PodObservation
from kubeprobe.queue import Queue
from kubeprobe.runs import Ending, Judgement, close, held_runs
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store, is_rejection
from kubeprobe.vocabulary import Reason, Verdict

log = structlog.get_logger(__name__)

LINGER_S = 0.02
GROUP = 300
PAUSE_S = 1.0
"""Between attempts while the database is unavailable."""


class Watch(Protocol):
    """The watch that observed an ending and deletes its pod afterwards."""

    cluster: Cluster

    @property
    def live(self) -> int: ...
    async def finish(self, finished: "Finished") -> None: ...


@dataclass(frozen=True)
class Finished:
    """An ending to be stored. `seen` is None if there is no pod; `deleted`: the pod is already deleted."""

    watch: Watch
    ending: Ending
    seen: PodObservation | None = None
    deleted: bool = False


class Committer:
    """Stores the endings of many watches in groups."""

    def __init__(self, store: Store, queue: Queue, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._waiting: asyncio.Queue[Finished] = asyncio.Queue()
        self._finishing: set[asyncio.Task[None]] = set()

    def submit(self, finished: Finished) -> None:
        """Queue an ending; `finished.watch.finish` is called once it is stored."""
        self._waiting.put_nowait(finished)

    async def run(self) -> None:
        """Commit group after group until cancelled. Pods not deleted by then are deleted by the next collector."""
        try:
            while True:
                group = await self._next_group()
                rejected = await self._commit_until_stored(group, _busy_clusters(group))
                for finished in group:
                    if finished.ending in rejected:
                        continue  # no outcome, so the pod stays; the run expires at its deadline
                    task = asyncio.create_task(finished.watch.finish(finished))
                    self._finishing.add(task)
                    task.add_done_callback(self._finishing.discard)
        finally:
            for task in self._finishing:
                task.cancel()
            await asyncio.gather(*self._finishing, return_exceptions=True)

    async def _next_group(self) -> list[Finished]:
        """The endings of a few tens of milliseconds."""
        group = [await self._waiting.get()]
        await asyncio.sleep(LINGER_S)
        while len(group) < GROUP and not self._waiting.empty():
            group.append(self._waiting.get_nowait())
        return group

    async def _commit_until_stored(self, group: Sequence[Finished], full: Sequence[str]) -> list[Ending]:
        """Commit endings, again and again while the database is unavailable; no pod is deleted meanwhile.

        Returns the endings that the database rejected; the others are stored.
        """
        endings = [finished.ending for finished in group]
        while True:
            try:
                await asyncio.to_thread(self._commit, endings, full)
            except Exception as error:  # noqa: BLE001 - no error may stop the other outcomes
                if is_rejection(error):
                    break
                log.error("database unavailable; outcomes buffered", outcomes=len(endings), error=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                return []
        return [finished.ending for finished in group if not await self._commit_alone(finished, full)]

    async def _commit_alone(self, finished: Finished, full: Sequence[str]) -> bool:
        """Store one ending, or if it is rejected, an unknown outcome without its report."""
        message = "The database rejected the probe's report."
        fallback, ending = Judgement(Verdict.UNKNOWN, Reason.REPORT_GARBLED, message), finished.ending
        with bound_contextvars(cluster=finished.watch.cluster.name, run=ending.run_id, attempt=ending.attempt):
            for judgement in (ending.judgement, fallback):
                try:
                    await asyncio.to_thread(self._commit, [replace(ending, judgement=judgement)], full)
                except Exception as error:  # noqa: BLE001 - as above
                    log.error("outcome rejected by the database", reason=judgement.reason, error=str(error))
                else:
                    return True
        return False

    def _commit(self, endings: Sequence[Ending], full: Sequence[str]) -> None:
        """Store outcomes; then wake responders, and launchers for held runs. A `Publisher` does not wait for that."""
        with self._store.writing() as session:
            ended = close(session, endings, self._clock())
            held = held_runs(session, full, limit=2 * len(endings)) if full else ()
        effects = Effects(launch=held, responders=int(bool(ended)))
        try:
            dispatch(self._queue, effects, self._settings.batch_size)
        except Exception:  # the outcomes are committed: beat sends the wakes again
            log.exception("effects not dispatched")


def _busy_clusters(group: Sequence[Finished]) -> list[str]:
    """Clusters with half of their cap or more in flight: only there may runs be held."""
    ended = Counter(finished.watch for finished in group)
    return sorted(w.cluster.name for w, count in ended.items() if w.live + count >= w.cluster.max_in_flight // 2)
