"""Finds the host cluster's pod of a virtual pod, by the labels and annotations of the syncer."""

import time
from dataclasses import dataclass
from typing import Any

from probes._api import Api, ApiError

Json = dict[str, Any]

PAUSE = 0.3
"""Seconds before a watch that broke is opened again."""

_TRANSIENT = {0, 410, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Convention:
    """How a syncer labels and annotates its objects on the host cluster."""

    selector: str
    """The labels of all its objects; may be empty."""
    name_key: str
    """The label or annotation with the virtual object's name; empty if both have the same name."""
    namespace_key: str
    """The label or annotation with the virtual object's namespace; empty if there is none."""

    def matches(self, host_pod: Json, name: str, namespace: str) -> bool:
        """Whether this host pod belongs to the virtual pod."""
        metadata = host_pod["metadata"]
        keys = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
        if (keys.get(self.name_key) if self.name_key else metadata["name"]) != name:
            return False
        return not self.namespace_key or keys.get(self.namespace_key) == namespace


def wait_for(api: Api, pods: str, convention: Convention, virtual: Json, seconds: float) -> Json:
    """Wait for the counterpart of a virtual pod; empty after `seconds`. Raises ApiError.

    `pods` is the path in the host's namespace; a restart of the API server is not a finding.
    """
    name, namespace = virtual["metadata"]["name"], virtual["metadata"]["namespace"]
    query = {"labelSelector": convention.selector} if convention.selector else {}
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            for event in api.watch(pods, left, **query):  # starts with the existing objects
                if event["type"] != "DELETED" and convention.matches(event["object"], name, namespace):
                    found: Json = event["object"]
                    return found
                if time.monotonic() > deadline:
                    break
        except ApiError as error:
            if error.status not in _TRANSIENT:
                raise
        time.sleep(max(min(PAUSE, deadline - time.monotonic()), 0))
    return {}
