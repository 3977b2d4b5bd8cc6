"""What federation-link has to find, with the test bed as hub, two more API servers as members, and a small engine."""

import base64
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from probes._api import ApiError
from testbed.extra import ControlPlane
from tests.harness.wait import until
from tests.probes.engines.loop import api_of, unless_missing
from tests.probes.engines.propagation import COPY
from tests.probes.engines.running import engine
from tests.probes.places import NAMESPACE
from tests.probes.scenario import Bed, Fault

SECRET = "federation"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SOON = {"ARRIVAL_TIMEOUT": "5", "REMOVAL_TIMEOUT": "5"}
TABLE = "kubeprobe-test-link"
_engines: dict[str, Any] = {}
"""The running engine, so that a fault can freeze it; one scenario runs at a time."""


def members(bed: Bed) -> dict[str, ControlPlane]:
    """The members by name. They are left running: the test bed's `down` ends them."""
    return {name: ControlPlane(bed.testbed.instance, name, number) for name, number in (("east", 1), ("west", 2))}


def _propagating(bed: Bed, mode: str = "remove") -> Any:
    # The engine goes by loopback: its links can be cut while the probe still reaches the members.
    links = [
        f"{plane.kubeconfig}=https://127.0.0.1:{plane.place.port('kube-apiserver')}" for plane in members(bed).values()
    ]
    return engine("propagation", str(bed.testbed.instance.kubeconfig), mode, *links)


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A federation of two members, whose kubeconfigs are in a Secret on the hub."""
    planes = members(bed)
    for plane in planes.values():
        plane.up()
    data = {name: base64.b64encode(plane.kubeconfig.read_bytes()).decode() for name, plane in planes.items()}
    with ExitStack() as stack:
        stack.enter_context(bed.cluster.having_at(SECRETS, {"metadata": {"name": SECRET}, "data": data}))
        _engines["engine"] = stack.enter_context(_propagating(bed))
        yield {"NAMESPACE": "default"}


@contextmanager
def link_cut(bed: Bed) -> Iterator[None]:
    """The engine cannot reach one member any more, though that is well."""
    port = members(bed)["west"].place.port("kube-apiserver")
    rules = f"""
    table inet {TABLE} {{
      chain output {{
        type filter hook output priority 0;
        ip daddr 127.0.0.1 tcp dport {port} reject with tcp reset
      }}
    }}
    """
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", TABLE], check=True)


@contextmanager
def member_frozen(bed: Bed) -> Iterator[None]:
    """One member's API server takes connections and answers nothing."""
    plane = members(bed)["west"]
    plane.pause("kube-apiserver")
    try:
        yield
    finally:
        plane.resume("kube-apiserver")
        with api_of(plane.kubeconfig) as api:
            until("the member to answer again", lambda: _answers(api), 60)


def _answers(api: Any) -> bool:
    try:
        return bool(api.get("/api/v1/namespaces/default"))
    except ApiError:
        return False


@contextmanager
def engine_frozen(_bed: Bed) -> Iterator[None]:
    """Nothing is propagated at all."""
    _engines["engine"].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        _engines["engine"].send_signal(signal.SIGCONT)


@contextmanager
def deletion_not_propagated(bed: Bed) -> Iterator[None]:
    """The engine brings objects to members and never takes one back."""
    try:
        with engine_frozen(bed), _propagating(bed, "keep"):
            yield
    finally:
        _forget_copies(bed)


def _forget_copies(bed: Bed) -> None:
    for plane in members(bed).values():
        with api_of(plane.kubeconfig) as api:
            for found in api.get("/api/v1/configmaps", labelSelector=COPY)["items"]:
                metadata = found["metadata"]
                path = f"/api/v1/namespaces/{metadata['namespace']}/configmaps/{metadata['name']}"
                unless_missing(lambda api=api, path=path: api.delete(path))  # type: ignore[misc]


@contextmanager
def held_in_member(bed: Bed) -> Iterator[None]:
    """A member's own quota has no room for one object more."""
    path = "/api/v1/namespaces/default/resourcequotas"
    with api_of(members(bed)["west"].kubeconfig) as api:
        api.create(path, {"metadata": {"name": "full"}, "spec": {"hard": {"count/configmaps": "0"}}})
        try:
            until("the quota to be counted", lambda: api.get(f"{path}/full").get("status", {}).get("hard"), 30)
            yield
        finally:
            api.delete(f"{path}/full")


NOT_ARRIVED = "the object has not arrived 5 s after it was placed on the hub$"

FAULTS = [
    Fault("the link to one member is cut", link_cut, says=rf"^arrive: member west: {NOT_ARRIVED}", parameters=SOON),
    Fault(
        "one member's API server hangs",
        member_frozen,
        says=r"^arrive: member west: no answer from the API server https://10\.200\.0\.1:16643 .*timed out",
        parameters=SOON,
    ),
    Fault("the engine is stopped", engine_frozen, says=rf"^arrive: member east: {NOT_ARRIVED}", parameters=SOON),
    Fault(
        "one member refuses the object",
        held_in_member,
        says=rf"^arrive: member west: {NOT_ARRIVED}",
        parameters=SOON,
    ),
    Fault(
        "a deletion is not propagated",
        deletion_not_propagated,
        says=r"^go: member (east|west): the object is still there 5 s after it was deleted from the hub$",
        parameters=SOON,
    ),
]
