"""Faults that are injected while a probe runs: an action on its objects as soon as they exist."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from probes._api import Api, ApiError
from tests.probes.paths import Json

Act = Callable[[Api, Json], None]
_WATCH_S = 1.0  # seconds: the time-out of a watch, after which the thread checks whether to stop


@contextmanager
def on_each(
    api: Api, collection: str, act: Act, when: Callable[[Json], object] = lambda _found: True, **query: str
) -> Iterator[None]:
    """While this lasts, call `act` once for every object in the collection, as soon as `when` is true of it.

    It runs in its own thread. `query` may select by labels.
    Errors of `act` are raised at the end: a fault that was not injected must not look like an undetected one.
    """
    stopping = threading.Event()
    failures: list[Exception] = []
    done: set[str] = set()
    version = api.get(collection, limit="1")["metadata"]["resourceVersion"]

    def follow() -> None:
        at = version
        with Api(api.access) as own:
            while not stopping.is_set():
                with suppress(ApiError):  # the fault may be that the API is unavailable
                    for event in own.watch(collection, _WATCH_S, **{**query, "resourceVersion": at}):
                        found = event["object"]
                        at = found["metadata"]["resourceVersion"]
                        if event["type"] != "DELETED" and found["metadata"]["uid"] not in done and when(found):
                            done.add(found["metadata"]["uid"])
                            _attempt(act, own, found, failures)

    thread = threading.Thread(target=follow, name=f"on each of {collection}")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(60)
    if failures:
        raise failures[0]


def _attempt(act: Act, api: Api, found: Json, failures: list[Exception]) -> None:
    try:
        act(api, found)
    except Exception as error:  # noqa: BLE001 (recorded, and raised in the test's thread)
        failures.append(error)
