"""Which pod of the host cluster stands for a pod of the virtual one: by what its syncer writes on it.

Next stage: `probe` waits for it.
"""

import time
from dataclasses import dataclass
from typing import Any

from probes._api import Api, ApiError

Json = dict[str, Any]

PAUSE = 0.3
"""Seconds before a watch that broke is opened again."""

_PASSES = {0, 410, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Convention:
    """How a syncer marks what it makes on the host cluster."""

    selector: str
    """Labels that all of it has; empty: none."""
    name_key: str
    """Label or annotation that holds the virtual object's name; empty: both have the same name."""
    namespace_key: str
    """Label or annotation that holds the virtual object's namespace; empty: nothing does."""

    def fits(self, host_pod: Json, name: str, namespace: str) -> bool:
        """Whether this pod of the host's stands for that one."""
        metadata = host_pod["metadata"]
        marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
        if (marks.get(self.name_key) if self.name_key else metadata["name"]) != name:
            return False
        return not self.namespace_key or marks.get(self.namespace_key) == namespace


def wait_for(api: Api, pods: str, convention: Convention, virtual: Json, seconds: float) -> Json:
    """The counterpart of a virtual pod as soon as there is one; empty after so many seconds. Raises ApiError.

    `pods` is the path of the host's namespace; an API server that is restarted meanwhile is no finding.
    """
    name, namespace = virtual["metadata"]["name"], virtual["metadata"]["namespace"]
    query = {"labelSelector": convention.selector} if convention.selector else {}
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            for event in api.watch(pods, left, **query):  # it begins with what is there already
                if event["type"] != "DELETED" and convention.fits(event["object"], name, namespace):
                    found: Json = event["object"]
                    return found
                if time.monotonic() > deadline:
                    break
        except ApiError as error:
            if error.status not in _PASSES:
                raise
        time.sleep(max(min(PAUSE, deadline - time.monotonic()), 0))
    return {}
