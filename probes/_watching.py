"""Follows one object by a watch, through whatever ends watches in a cluster that is well.

API servers close watches every few minutes, and are restarted one after the other in every upgrade: a
watch that breaks is opened again, and only what it leads to, or does not, in time is a finding.
Next stage: the probes wait with it.
"""

import time
from collections.abc import Callable
from typing import Any

from probes._api import Api, ApiError

Json = dict[str, Any]

RECONNECT_PAUSE = 0.5
"""Seconds before a broken watch is opened again."""

_PASSES = {0, 429, 500, 502, 503, 504}  # no answer, too busy, or a part of the control plane restarts


class ObjectWatch:
    """The last known state of one object, such as a pod; `path` is that of the object itself."""

    def __init__(self, api: Api, path: str, known: Json) -> None:
        self._api = api
        self._path, _, self._name = path.rpartition("/")
        self.object = known
        """Empty once it is gone."""
        self.trouble = ""
        """Why the API cannot be asked at present; empty if it can."""

    def until(self, done: Callable[[Json], bool], seconds: float) -> bool:
        """Follow the object until `done` or gone, True, or until the time is up, False. Raises ApiError."""
        deadline = time.monotonic() + seconds
        while not self._is(done) and (left := deadline - time.monotonic()) > 0:
            try:
                self._follow(done, left)
                if not self._is(done):
                    self._look()
                self.trouble = ""
            except ApiError as error:
                if error.status not in _PASSES:
                    raise
                self.trouble = str(error)
            if not self._is(done):
                time.sleep(max(min(RECONNECT_PAUSE, deadline - time.monotonic()), 0))
        return self._is(done)

    def _is(self, done: Callable[[Json], bool]) -> bool:
        return not self.object or done(self.object)

    def _follow(self, done: Callable[[Json], bool], seconds: float) -> None:
        """Take in events until `done`, or until the server ends the watch."""
        version = self.object["metadata"]["resourceVersion"]
        query = {"fieldSelector": f"metadata.name={self._name}", "resourceVersion": version}
        try:
            for event in self._api.watch(self._path, seconds, **query):
                self.object = {} if event["type"] == "DELETED" else event["object"]
                if self._is(done):
                    return
        except ApiError as error:
            if error.status != 410:  # what we have seen is too old for the server: look afresh
                raise

    def _look(self) -> None:
        try:
            self.object = self._api.get(f"{self._path}/{self._name}")
        except ApiError as error:
            if error.status != 404:
                raise
            self.object = {}
