"""Faults that strike while a probe is at work: something is done to what it creates, the moment it is there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from probes._api import Api, ApiError
from tests.probes.places import Json

Act = Callable[[Api, Json], None]
_LOOK_AGAIN = 1.0  # seconds a watch lasts at most, so that the thread sees that it is no longer wanted


@contextmanager
def on_each(
    api: Api, collection: str, act: Act, when: Callable[[Json], object] = lambda _found: True, **query: str
) -> Iterator[None]:
    """While this lasts, `act` once on every object that appears in the collection, as soon as `when` is true of it.

    It happens in a thread of its own. `query` may select by labels.
    What `act` raises is raised at the end: a fault that did not happen must not look like one that was missed.
    """
    over = threading.Event()
    failures: list[Exception] = []
    done: set[str] = set()
    version = api.get(collection, limit="1")["metadata"]["resourceVersion"]

    def follow() -> None:
        at = version
        with Api(api.access) as own:
            while not over.is_set():
                with suppress(ApiError):  # the fault may be that the API is away
                    for event in own.watch(collection, _LOOK_AGAIN, **{**query, "resourceVersion": at}):
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
        over.set()
        thread.join(60)
    if failures:
        raise failures[0]


def _attempt(act: Act, api: Api, found: Json, failures: list[Exception]) -> None:
    try:
        act(api, found)
    except Exception as error:  # noqa: BLE001 (kept, and raised where the test sees it)
        failures.append(error)
