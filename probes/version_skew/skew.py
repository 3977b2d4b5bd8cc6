"""Kubernetes' version skew policy as rules. Pure; `probe` finds the versions.

Source: https://kubernetes.io/releases/version-skew-policy/ (as of 1.34).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.|$|[-+])")
_FEWER_BEFORE = 25  # kubelets and kube-proxies older than 1.25 may be at most two minor versions older

APISERVER, KUBELET, KUBE_PROXY = "kube-apiserver", "kubelet", "kube-proxy"
CONTROLLERS = ("kube-controller-manager", "kube-scheduler", "cloud-controller-manager")
"""May be one minor version older than the oldest API server, and never newer."""


@dataclass(frozen=True)
class Component:
    """One running component: name, version and location."""

    name: str
    version: str
    location: str
    """`node worker-1` or `pod kube-system/kube-scheduler-a`."""

    @property
    def minor(self) -> int | None:
        """Its minor version; None if the version cannot be read."""
        return minor_of(self.version)


def minor_of(version: str) -> int | None:
    """34 of `v1.34.4-gke.100`; None if it is not a version of Kubernetes 1."""
    found = _VERSION.match(version)
    return int(found[2]) if found and found[1] == "1" else None


def version_in_image(image: str) -> str:
    """The tag of an image if it is a version, else empty: `registry.k8s.io/kube-proxy:v1.34.4@sha256:...`."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return tag if minor_of(tag) is not None else ""


def outside(components: Iterable[Component]) -> list[str]:
    """Components outside the supported skew: API servers first, then newer ones, then the oldest."""
    known = [(one, one.minor) for one in components]
    servers = [(one, minor) for one, minor in known if one.name == APISERVER and minor is not None]
    if not servers:
        return []
    oldest, newest = min(servers, key=lambda pair: pair[1]), max(servers, key=lambda pair: pair[1])
    found: dict[tuple[int, str], list[str]] = {}
    if newest[1] - oldest[1] > 1:
        text = (
            f"kube-apiserver {newest[0].version} at {newest[0].location} is {newest[1] - oldest[1]} minor versions "
            f"newer than kube-apiserver {oldest[0].version} at {{locations}}; at most 1 is supported"
        )
        found[(-1000, text)] = [oldest[0].location]
    for one, minor in known:
        if one.name != APISERVER and minor is not None:
            text = _against_server(one, minor, oldest, newest)
            if text:
                found.setdefault((_urgency(minor, oldest[1]), text), []).append(one.location)
    return [text.format(locations=_shortened(locations)) for (_order, text), locations in sorted(found.items())]


def apart_on_node(kubelets: dict[str, Component], proxies: Iterable[Component]) -> list[str]:
    """kube-proxies more than three minor versions apart from the kubelet of their node; kubelets by location."""
    found: dict[str, list[str]] = {}
    for proxy in proxies:
        kubelet = kubelets.get(proxy.location)
        if kubelet is None or kubelet.minor is None or proxy.minor is None:
            continue
        apart = abs(kubelet.minor - proxy.minor)
        if apart > 3:
            text = (
                f"kube-proxy {proxy.version} and kubelet {kubelet.version} on {{locations}} are {apart} minor versions "
                "apart; at most 3 are supported"
            )
            found.setdefault(text, []).append(proxy.location)
    return [text.format(locations=_shortened(locations)) for text, locations in found.items()]


def _against_server(one: Component, minor: int, oldest: tuple[Component, int], newest: tuple[Component, int]) -> str:
    if minor > oldest[1]:
        return (
            f"{one.name} {one.version} on {{locations}} is newer than kube-apiserver {oldest[0].version}; "
            "this is not supported"
        )
    allowed = _allowed(one.name, minor)
    behind = newest[1] - minor
    if behind > allowed:
        return (
            f"{one.name} {one.version} on {{locations}} is {behind} minor versions older than kube-apiserver "
            f"{newest[0].version}; at most {allowed} are supported"
        )
    return ""


def _allowed(name: str, minor: int) -> int:
    if name in CONTROLLERS:
        return 1
    return 3 if minor >= _FEWER_BEFORE else 2


def _urgency(minor: int, server: int) -> int:
    return -500 if minor > server else minor - server


def _shortened(locations: list[str]) -> str:
    """At most three of them."""
    more = f" and {len(locations) - 3} more" if len(locations) > 3 else ""
    return ", ".join(locations[:3]) + more
