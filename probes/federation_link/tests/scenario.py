"""The faults of federation-link: the test bed as hub, two more API servers as members, Open Cluster Management."""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from probes._api import ApiError
from testbed.extra import ControlPlane
from tests.harness.wait import until
from tests.probes.admission import denying_policy, webhook_that_adds_a_finalizer
from tests.probes.clusters import ProbedCluster
from tests.probes.engines.apis import api_of
from tests.probes.engines.ocm import Federation
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault

SECRET = "federation"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
FINALIZER = "example.com/backup"
SOON = {"ARRIVAL_TIMEOUT": "5", "REMOVAL_TIMEOUT": "5"}
TABLE = "kubeprobe-test-link"
_running: dict[str, Federation] = {}
"""The federation, for faults; one scenario runs at a time."""


def members(bed: Bed) -> dict[str, ControlPlane]:
    """The members by name. They keep running until the test bed's `down`."""
    return {name: ControlPlane(bed.testbed.instance, name, number) for name, number in (("east", 1), ("west", 2))}


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A federation of two members, whose kubeconfigs are in a Secret on the hub."""
    planes = members(bed)
    for plane in planes.values():
        plane.up()
    data = {name: base64.b64encode(plane.kubeconfig.read_bytes()).decode() for name, plane in planes.items()}
    federation = Federation(bed.api, bed.testbed.instance.kubeconfig, planes, bed.tmp / "ocm")
    with bed.cluster.having_at(SECRETS, {"metadata": {"name": SECRET}, "data": data}):
        try:
            federation.begin()
            _running["federation"] = federation
            yield {"NAMESPACE": NAMESPACE}
        finally:
            federation.end()


@contextmanager
def link_cut(bed: Bed) -> Iterator[None]:
    """The agent can no longer reach one member, which is healthy."""
    port = members(bed)["west"].instance.port("kube-apiserver")
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
        _restart_agent("west")


@contextmanager
def member_frozen(bed: Bed) -> Iterator[None]:
    """One member's API server accepts connections and does not answer."""
    plane = members(bed)["west"]
    plane.pause("kube-apiserver")
    try:
        yield
    finally:
        plane.resume("kube-apiserver")
        with api_of(plane.kubeconfig) as api:
            until("the member to answer again", lambda: _answers(api), 60)
        _restart_agent("west")


def _answers(api: Any) -> bool:
    try:
        return bool(api.get("/api/v1/namespaces/default"))
    except ApiError:
        return False


def _restart_agent(member: str) -> None:
    """Restart the agent, which otherwise waits for its back-off."""
    _running["federation"].kill(member)
    _running["federation"].start(member)


@contextmanager
def engine_frozen(_bed: Bed) -> Iterator[None]:
    """Nothing is propagated at all."""
    _running["federation"].pause()
    try:
        yield
    finally:
        _running["federation"].resume()


@contextmanager
def agent_killed(_bed: Bed) -> Iterator[None]:
    """The objects of one member are not propagated."""
    _running["federation"].kill("west")
    try:
        yield
    finally:
        _running["federation"].start("west")


@contextmanager
def _in_member(bed: Bed, name: str) -> Iterator[Bed]:
    """A Bed of a member, for faults of its API."""
    kubeconfig = members(bed)[name].kubeconfig
    with api_of(kubeconfig) as api:
        yield replace(bed, api=api, cluster=ProbedCluster(api, kubeconfig))


@contextmanager
def deletion_refused(bed: Bed) -> Iterator[None]:
    """A member accepts objects and does not delete them."""
    with _in_member(bed, "west") as member, denying_policy(member, "configmaps", "DELETE", "deletions are not allowed"):
        yield


@contextmanager
def finalizer_in_member(bed: Bed) -> Iterator[None]:
    """A controller in a member adds a finalizer to every object and never removes it."""
    with _in_member(bed, "west") as member:
        in_namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
        try:
            with webhook_that_adds_a_finalizer(member, "configmaps", FINALIZER, in_namespace):
                yield
        finally:
            for found in member.api.get(CONFIGMAPS)["items"]:
                if FINALIZER in found["metadata"].get("finalizers", ()):
                    member.api.patch(f"{CONFIGMAPS}/{found['metadata']['name']}", {"metadata": {"finalizers": None}})


@contextmanager
def member_quota_full(bed: Bed) -> Iterator[None]:
    """A member's own quota is full."""
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"count/configmaps": "0"}}}
    quotas = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"
    with _in_member(bed, "west") as member, member.cluster.having_at(quotas, quota):
        until("the quota's status", lambda: member.api.get(f"{quotas}/full").get("status", {}).get("hard"), 30)
        yield


NOT_CREATED = "the object does not exist 5 s after its creation on the hub$"
STILL_EXISTS = "the object still exists 5 s after its deletion on the hub"

FAULTS = [
    Fault("the link to one member is cut", link_cut, says=rf"^arrive: member west: {NOT_CREATED}", parameters=SOON),
    Fault(
        "one member's API server hangs",
        member_frozen,
        says=r"^arrive: member west: no answer from the API server https://10\.200\.0\.1:16643 .*timed out",
        parameters=SOON,
    ),
    Fault("the engine is stopped", engine_frozen, says=rf"^arrive: member east: {NOT_CREATED}", parameters=SOON),
    Fault(
        "one member's agent is killed",
        agent_killed,
        says=rf"^arrive: member west: {NOT_CREATED}",
        parameters=SOON,
    ),
    Fault(
        "one member refuses the object",
        member_quota_full,
        says=rf"^arrive: member west: {NOT_CREATED}",
        parameters=SOON,
    ),
    Fault(
        "a deletion is not propagated",
        deletion_refused,
        says=rf"^gone: member west: {STILL_EXISTS}$",
        parameters={**SOON, "ARRIVAL_TIMEOUT": "20"},
    ),
    Fault(
        "a finalizer holds the object in one member",
        finalizer_in_member,
        says=rf"^gone: member west: {STILL_EXISTS}: held by the finalizers {FINALIZER}$",
        parameters={**SOON, "ARRIVAL_TIMEOUT": "20"},
    ),
]
