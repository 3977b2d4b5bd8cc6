"""Follows one ConfigMap by a watch from before its creation, as a controller does, and records when each event arrives.

Runs in its own thread with its own connection: the events must arrive while the probe writes.

"""

import threading
import time
from dataclasses import dataclass
from typing import Any

from probes._access import Access
from probes._api import Api, ApiError, PermissionMissing

RECONNECT_PAUSE = 0.2
"""Seconds before a broken watch is resumed."""


@dataclass(frozen=True)
class WatchEvent:
    """An event: its type, the object's data, and when it arrived (`time.monotonic`)."""

    type: str
    data: dict[str, str]
    received_at: float


class EventRecorder:
    """The events of one object since `version`, until it is deleted or `seconds` have passed."""

    def __init__(self, access: Access, path: str, version: str, seconds: float) -> None:
        self._access = access
        self._collection, _, self._name = path.rpartition("/")
        self._version = version
        self._deadline = time.monotonic() + seconds
        self._changed = threading.Condition()
        self._ended = False
        self.events: list[WatchEvent] = []
        self.permission_error: PermissionMissing | None = None
        """Set if the watch itself is forbidden."""
        self.last_error = ""
        """The last error of the watch."""

    def start(self) -> None:
        """Start the watch in a daemon thread."""
        threading.Thread(target=self._record, name="watch", daemon=True).start()

    def wait_for(self, kind: str, data: dict[str, str] | None, seconds: float) -> WatchEvent | None:
        """Wait for the first event of this type (and data); None if it does not arrive in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._first(kind, data) or self._ended, seconds)
            return self._first(kind, data)

    def received_types(self) -> str:
        """The received event types, for a message: `ADDED, MODIFIED`."""
        with self._changed:
            return ", ".join(event.type for event in self.events) or "none"

    def _first(self, kind: str, data: dict[str, str] | None) -> WatchEvent | None:
        return next((event for event in self.events if event.type == kind and data in (None, event.data)), None)

    def _record(self) -> None:
        with Api(self._access) as api:
            while (left := self._deadline - time.monotonic()) > 0 and not self._ended:
                try:
                    self._follow(api, left)
                except PermissionMissing as error:
                    self.permission_error = error
                    break
                except ApiError as error:
                    self.last_error = str(error)
                    time.sleep(RECONNECT_PAUSE)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _follow(self, api: Api, seconds: float) -> None:
        query = {"fieldSelector": f"metadata.name={self._name}", "resourceVersion": self._version}
        for event in api.watch(self._collection, seconds, **query):
            self._record_event(event["type"], event["object"])
            if self._ended:
                return

    def _record_event(self, kind: str, found: dict[str, Any]) -> None:
        self._version = found["metadata"]["resourceVersion"]
        with self._changed:
            self.events.append(WatchEvent(kind, found.get("data") or {}, time.monotonic()))
            self._ended = kind == "DELETED"
            self._changed.notify_all()


def out_of_order(events: list[WatchEvent], written: list[str]) -> str:
    """The problem with the order of events (ADDED first, DELETED last, writes in their order); empty if there is none.

    `written` has the values of `data.value` in the order of writing. Other clients may change the object too.
    """
    kinds = [event.type for event in events]
    if kinds[:1] != ["ADDED"] or kinds.count("ADDED") != 1 or "DELETED" in kinds[:-1]:
        return f"events arrived in the order {', '.join(kinds)}: expected ADDED first and DELETED last"
    values = list(dict.fromkeys(event.data.get("value", "") for event in events))
    if values != written:
        return f"the events have the values {', '.join(values)}: expected {', '.join(written)}, in this order"
    return ""
