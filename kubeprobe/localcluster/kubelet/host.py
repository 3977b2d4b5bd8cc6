"""What all pods of the node share: registry, images, directories, tokens and settings."""

import itertools
import shutil
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kubeprobe.localcluster.deletion import DeleteOptions
from kubeprobe.localcluster.errors import ApiError
from kubeprobe.localcluster.images import ImageTable
from kubeprobe.localcluster.kubelet.process import MARK
from kubeprobe.localcluster.kubelet.sweep import Sweeper
from kubeprobe.localcluster.objects import Object, timestamp
from kubeprobe.localcluster.registry import Registry, Target
from kubeprobe.localcluster.resources import EVENTS, PODS
from kubeprobe.localcluster.tokens import Tokens, url_with_token, write_kubeconfig

NODE = "local"
_KEPT_EVENTS = 2000


def pods_directory(directory: Path) -> Path:
    """Where the files of all pods are, within a cluster's directory."""
    return directory / "pods"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts to start a container or pull an image: doubled each time, up to `longest`."""

    first: float = 10
    longest: float = 300

    def after(self, attempts: int) -> float:
        """Seconds to wait after this many attempts."""
        return float(min(self.longest, self.first * 2 ** min(max(attempts - 1, 0), 30)))


@dataclass(frozen=True, slots=True)
class Host:
    """The node as its pods see it."""

    registry: Registry
    images: ImageTable
    directory: Path
    tokens: Tokens
    url: Callable[[], str]
    """The API server's URL; known once it listens."""
    instance: str
    """The id that marks the processes of this cluster."""
    backoff: Backoff = Backoff()
    events: "Events" = field(init=False)
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        """Create what depends on other fields."""
        object.__setattr__(self, "events", Events(self.registry))
        object.__setattr__(self, "sweeper", Sweeper(self.mark))

    @property
    def mark(self) -> str:
        """The common prefix of the marks of all processes of this cluster."""
        return f"{MARK}={self.instance}/"

    @property
    def launchers(self) -> Path:
        """The directory of `python` and `python3`, first in every PATH."""
        return self.directory / "bin"

    def now(self) -> datetime:
        """The time of the cluster's clock."""
        return self.registry.clock()

    def find(self, pod: Object) -> Object | None:
        """The current state of the pod; None when the pod with this UID no longer exists."""
        metadata = pod["metadata"]
        stored = self.registry.store.get(PODS, metadata["namespace"], metadata["name"])
        if stored is None or stored.object["metadata"]["uid"] != metadata["uid"]:
            return None
        return stored.object

    def pod_directory(self, pod: Object) -> Path:
        """The directory of a pod's files."""
        return pods_directory(self.directory) / str(pod["metadata"]["uid"])

    def write_kubeconfig(self, path: Path, namespace: str, token: str) -> None:
        """Write a container's kubeconfig for this cluster."""
        write_kubeconfig(path, {"local": url_with_token(self.url(), token)}, token, namespace)

    def remove_pod_directory(self, pod: Object) -> None:
        """Delete a pod's files."""
        shutil.rmtree(self.pod_directory(pod), ignore_errors=True)


class Events:
    """Records events of pods as the scheduler and the kubelet do; only the latest are kept."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recent: OrderedDict[tuple[str, str, str], Target] = OrderedDict()
        self._numbers = itertools.count(1)

    def record(self, pod: Object, reason: str, message: str, *, warning: bool = False, field: str = "") -> None:
        """Record an event; a repetition increments the count of the first."""
        metadata = pod["metadata"]
        key = (metadata["uid"], reason, message)
        now = self._registry.clock()
        known = self._recent.get(key)
        try:
            if known is not None:
                seen = self._registry.get(known).object
                again = {"count": seen.get("count", 1) + 1, "lastTimestamp": timestamp(now)}
                self._registry.update(known, {**seen, **again})
                return
            event = _event(pod, reason, message, now, warning=warning)
            if field:
                event["involvedObject"]["fieldPath"] = field
            name = f"{metadata['name'][:200]}.{next(self._numbers):x}{metadata['uid'][:8]}"
            target = Target(EVENTS, metadata["namespace"], name)
            self._registry.create(target, {**event, "metadata": {"name": name}})
        except ApiError:
            return  # the namespace is terminating, or somebody deleted the event
        self._recent[key] = target
        if len(self._recent) > _KEPT_EVENTS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, target = self._recent.popitem(last=False)
        try:
            self._registry.delete(target, DeleteOptions())
        except ApiError:
            return  # already deleted with its namespace


def _event(pod: Object, reason: str, message: str, now: datetime, *, warning: bool) -> Object:
    metadata = pod["metadata"]
    component = "default-scheduler" if reason in ("Scheduled", "FailedScheduling") else "kubelet"
    return {
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message,
        **(_from_kubelet(now) if component == "kubelet" else _from_scheduler(now)),
        "involvedObject": {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
    }


def _from_kubelet(now: datetime) -> Object:
    """Source and times in the old form of events, which counts repetitions."""
    seen = timestamp(now)
    return {
        "source": {"component": "kubelet", "host": NODE},
        "reportingComponent": "kubelet",
        "reportingInstance": NODE,
        "count": 1,
        "firstTimestamp": seen,
        "lastTimestamp": seen,
        "eventTime": None,
    }


def _from_scheduler(now: datetime) -> Object:
    """Source and times in the new form of events."""
    return {
        "source": {},
        "reportingComponent": "default-scheduler",
        "reportingInstance": f"default-scheduler-{NODE}",
        "action": "Binding",
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
