"""Waits in all members at once for the creation and the deletion of the object."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from probes._access import Access
from probes._api import Api, ApiError, PermissionMissing

PERIOD = 0.25
"""Seconds between two checks of a member: the resolution of the latency."""


@dataclass(frozen=True)
class Observation:
    """When a member had the expected state, or why it did not."""

    member: str
    seconds: float | None
    """Seconds until the expected state; None if it was not reached in time."""
    problem: str = ""
    """Why the member's API was unavailable at the last check; empty if it was available."""
    forbidden: str = ""
    """The permission that the probe lacks there; nothing else is known then."""
    held: str = ""
    """The finalizers of an object that should be deleted."""


def wait_until_created(members: Mapping[str, Access], path: str, since: float, seconds: float) -> list[Observation]:
    """When the object at `path` appeared in each member; `since` is the start in monotonic time."""
    return _in_all(members, lambda member, access: _poll(member, access, path, since, seconds, expected=True))


def wait_until_deleted(members: Mapping[str, Access], path: str, since: float, seconds: float) -> list[Observation]:
    """When it was deleted in each member."""
    return _in_all(members, lambda member, access: _poll(member, access, path, since, seconds, expected=False))


def _in_all(members: Mapping[str, Access], observe: Callable[[str, Access], Observation]) -> list[Observation]:
    with ThreadPoolExecutor(max(len(members), 1)) as pool:
        return list(pool.map(observe, members.keys(), members.values()))


def _poll(member: str, access: Access, path: str, since: float, seconds: float, *, expected: bool) -> Observation:
    """Poll until the expected state. One connection for each member, as an Api is not thread-safe."""
    problem = held = ""
    with Api(access) as api:
        while True:
            try:
                metadata = api.get(path)["metadata"]
                exists, problem = True, ""
                held = ", ".join(metadata.get("finalizers") or ())
            except PermissionMissing as error:
                return Observation(member, None, forbidden=str(error))
            except ApiError as error:
                exists, problem = error.status != 404, "" if error.status == 404 else str(error)
            passed = time.monotonic() - since
            if not problem and exists == expected:
                return Observation(member, passed)
            if passed > seconds:
                return Observation(member, None, problem, held=held)
            time.sleep(PERIOD)
