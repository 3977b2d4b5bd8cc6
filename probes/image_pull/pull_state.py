"""The state of a pull according to the kubelet: done, in progress, or failed with a cause.

The kubelet forwards the messages of the container runtime, and that the registry's; the texts below are those of
containerd and CRI-O with common registries.
"""

import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_FAILED = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError"}
_REFUSED = {"InvalidImageName", "SignatureValidationFailed"}
_NOT_STARTED = {"", "ContainerCreating", "PodInitializing"}


@dataclass(frozen=True)
class Fault:
    """A kind of failure."""

    name: str
    description: str
    """The cause, for the error."""
    temporary: bool
    """Whether it may be temporary, so that the kubelet's next try is worth waiting for."""


_AUTH = Fault("auth", "the registry refuses the credentials, or requires some (PULL_SECRET)", temporary=False)
_KINDS = (
    (
        r"pull QPS exceeded",
        Fault("throttled", "throttled by the kubelet itself (registryPullQPS, registryBurst)", temporary=True),
    ),
    (r"\b429\b|too ?many ?requests|rate.?limit", Fault("throttled", "throttled by the registry (429)", temporary=True)),
    (
        r"x509:|certificate|server gave HTTP response to HTTPS client|tls: ",
        Fault(
            "untrusted",
            "the node does not trust the registry's certificate, or only one of them uses TLS",
            temporary=False,
        ),
    ),
    (r"no basic auth credentials|\b401\b", _AUTH),
    (
        r"pull access denied|repository does not exist or may require",
        Fault(
            "denied", "access denied: the registry does not say whether image or credentials are wrong", temporary=False
        ),
    ),
    (r"\b403\b|unauthorized|authentication required|authorization failed|denied", _AUTH),
    (
        r"no match for platform|no matching manifest|does not match the specified platform",
        Fault("platform", "the image does not exist for the node's platform", temporary=False),
    ),
    (
        r"\b404\b|not found|manifest unknown|name unknown|MANIFEST_UNKNOWN|NAME_UNKNOWN",
        Fault("missing", "the registry has no such image or tag", temporary=False),
    ),
    (r"no space left", Fault("disk", "the node's disk is full", temporary=True)),
    (
        r"no such host|server misbehaving|name resolution",
        Fault("unreachable", "the registry's name is not resolved on the node", temporary=True),
    ),
    (
        r"connection refused|timed? ?out|unreachable|no route|deadline exceeded|connection reset|dial tcp|\bEOF\b",
        Fault("unreachable", "the registry cannot be reached from the node", temporary=True),
    ),
    (r"\b5\d\d\b", Fault("registry", "the registry answers with a server error (5xx)", temporary=True)),
)
_OTHER = Fault("other", "the pull failed", temporary=True)


@dataclass(frozen=True)
class Failure:
    """A pull that failed."""

    fault: Fault
    message: str
    """The kubelet's message."""


def has_pulled(pod: Json) -> bool:
    """Whether the image is on the node: the container was at least created."""
    container = _container(pod)
    state = container.get("state", {})
    if "running" in state or "terminated" in state:
        return True
    waiting = state.get("waiting", {}).get("reason", "")
    return waiting not in _NOT_STARTED | _FAILED | _REFUSED


def failure(pod: Json) -> Failure | None:
    """How the last try failed; None if none has."""
    waiting = _container(pod).get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message") or ""
    if reason in _REFUSED:
        return Failure(Fault("refused", f"the kubelet refuses the image ({reason})", temporary=False), message)
    if reason not in _FAILED:
        return None
    return classify(message) if message else Failure(_OTHER, reason)


def classify(message: str) -> Failure:
    """The cause of a failed pull, from the container runtime's message."""
    text = re.sub(r"^Back-off pulling image \S+: \w+: ", "", message.strip())
    # Ignore the image's own name: registry-404.example.com/denied:500.
    cause = re.sub(r'"[^"]*"', '""', re.sub(r"https?://\S+", "", text))
    for pattern, fault in _KINDS:
        if re.search(pattern, cause, re.IGNORECASE):
            return Failure(fault, _shortened(text))
    return Failure(_OTHER, _shortened(text))


def pull_duration(events: list[Json]) -> tuple[float, float] | None:
    """Seconds of the pull and bytes of the image (0 if unknown), from the kubelet's events."""
    for event in events:
        duration = re.search(r"Successfully pulled image .* in ([0-9a-zµ.]+)", event.get("message") or "")
        if event.get("reason") == "Pulled" and duration:
            size = re.search(r"Image size: (\d+) bytes", event["message"])
            return _go_seconds(duration[1]), float(size[1]) if size else 0.0
    return None


def _go_seconds(text: str) -> float:
    """Go's duration: `1m2.5s`, `812ms`."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    values = re.findall(r"([0-9.]+)(h|ms|us|µs|ns|m|s)", text)
    return sum(float(value.rstrip(".")) * units[unit] for value, unit in values)


def _container(pod: Json) -> Json:
    statuses: list[Json] = pod.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0]


def _shortened(text: str, most: int = 400) -> str:
    """The end of a long message, which has the cause."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"...{text[-most:]}"
