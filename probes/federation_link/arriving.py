"""Waits in all members at once for the object to arrive and to go. Next stage: `probe` tells how long it took."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from probes._access import Access
from probes._api import Api, ApiError, PermissionMissing

PERIOD = 0.25
"""Seconds between two looks at a member: the latency is exact to this."""


@dataclass(frozen=True)
class Seen:
    """What was seen in one member."""

    member: str
    seconds: float | None
    """Until it was so; None: it never was in the time given."""
    trouble: str = ""
    """Why the member could not be asked, at the last look; empty if it could."""
    forbidden: str = ""
    """What the probe may not do there; nothing is known then."""
    held: str = ""
    """The finalizers of an object that should be gone."""


def arrived(members: Mapping[str, Access], path: str, since: float, seconds: float) -> list[Seen]:
    """When the object at `path` was there first, in each member; `since` is the monotonic time to count from."""
    return _everywhere(members, lambda member, access: _follow(member, access, path, since, seconds, wanted=True))


def gone(members: Mapping[str, Access], path: str, since: float, seconds: float) -> list[Seen]:
    """When it was there no more, in each member."""
    return _everywhere(members, lambda member, access: _follow(member, access, path, since, seconds, wanted=False))


def _everywhere(members: Mapping[str, Access], look: Callable[[str, Access], Seen]) -> list[Seen]:
    with ThreadPoolExecutor(max(len(members), 1)) as pool:
        return list(pool.map(look, members.keys(), members.values()))


def _follow(member: str, access: Access, path: str, since: float, seconds: float, *, wanted: bool) -> Seen:
    """Look again and again. One connection for each member: an Api is not for several threads."""
    trouble = held = ""
    with Api(access) as api:
        while True:
            try:
                metadata = api.get(path)["metadata"]
                is_there, trouble = True, ""
                held = ", ".join(metadata.get("finalizers") or ())
            except PermissionMissing as error:
                return Seen(member, None, forbidden=str(error))
            except ApiError as error:
                is_there, trouble = error.status != 404, "" if error.status == 404 else str(error)
            passed = time.monotonic() - since
            if not trouble and is_there == wanted:
                return Seen(member, passed)
            if passed > seconds:
                return Seen(member, None, trouble, held=held)
            time.sleep(PERIOD)
