"""Follows one object by a watch that survives the interruptions of a healthy cluster.

API servers close watches every few minutes, and are restarted one after the other in every upgrade: a
broken watch is opened again, and only the object's state at the time limit is a finding.

"""

import time
from collections.abc import Callable
from typing import Any

from probes._api import Api, ApiError

Json = dict[str, Any]

RECONNECT_PAUSE = 0.5
"""Seconds before a broken watch is opened again."""

_TRANSIENT = {0, 429, 500, 502, 503, 504}  # no answer, too busy, or a restart in the control plane


class ObjectWatch:
    """The last known state of one object, such as a pod; `path` is the object's own path."""

    def __init__(self, api: Api, path: str, known: Json) -> None:
        self._api = api
        self._path, _, self._name = path.rpartition("/")
        self.object = known
        """Empty once it is deleted."""
        self.problem = ""
        """Why the API is unavailable at present; empty if it is available."""

    def until(self, done: Callable[[Json], bool], seconds: float) -> bool:
        """Follow the object: True once it is `done` or deleted, False after `seconds`. Raises ApiError."""
        deadline = time.monotonic() + seconds
        while not self._is_done(done) and (left := deadline - time.monotonic()) > 0:
            try:
                self._follow(done, left)
                if not self._is_done(done):
                    self._refresh()
                self.problem = ""
            except ApiError as error:
                if error.status not in _TRANSIENT:
                    raise
                self.problem = str(error)
            if not self._is_done(done):
                time.sleep(max(min(RECONNECT_PAUSE, deadline - time.monotonic()), 0))
        return self._is_done(done)

    def _is_done(self, done: Callable[[Json], bool]) -> bool:
        return not self.object or done(self.object)

    def _follow(self, done: Callable[[Json], bool], seconds: float) -> None:
        """Process events until `done`, or until the server ends the watch."""
        version = self.object["metadata"]["resourceVersion"]
        query = {"fieldSelector": f"metadata.name={self._name}", "resourceVersion": version}
        try:
            for event in self._api.watch(self._path, seconds, **query):
                self.object = {} if event["type"] == "DELETED" else event["object"]
                if self._is_done(done):
                    return
        except ApiError as error:
            if error.status != 410:  # 410: the version is too old for the server, so read again
                raise

    def _refresh(self) -> None:
        try:
            self.object = self._api.get(f"{self._path}/{self._name}")
        except ApiError as error:
            if error.status != 404:
                raise
            self.object = {}
