"""Creates an object on a federation's hub, waits for it in each member, deletes it, and waits for its deletion in each.

Works with every engine: the object and the members are parameters (README.md).
It runs in the hub's cluster, or with a kubeconfig of the hub.
"""

import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from kubeprobe_client import CheckFailed, Run, give_up, main, measure, run, step

from probes._access import Access
from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._kubeconfigs import access_from_kubeconfig, kubeconfigs_in
from probes._objects import Cleanup
from probes._parameters import number, text, words
from probes.federation_link.hub_objects import HubObject, Json, ManifestError, hub_object_of, labelled, manifests
from probes.federation_link.propagation import Observation, wait_until_created, wait_until_deleted

HUB = "hub"
"""The Secret's key with the hub's kubeconfig, where that is another API than the probe's own (as Karmada's is)."""

MANIFESTS = """
apiVersion: work.open-cluster-management.io/v1
kind: ManifestWork
metadata: {name: "${name}", namespace: "${member}"}
spec:
  workload:
    manifests:
      - apiVersion: v1
        kind: ConfigMap
        metadata: {name: "${name}", namespace: "${namespace}"}
        data: {from: kubeprobe}
"""


@dataclass(frozen=True)
class Link:
    """Hub object, members and time limits."""

    hub: Access
    members: dict[str, Access]
    bodies: list[Json]
    member_path: str
    """Path of the object in each member."""


def _read_link(own: Api, namespace: str) -> Link:
    """Read the parameters and the Secret; an invalid one ends the run as unknown."""
    secret = text("KUBECONFIGS_SECRET", "federation")
    found = kubeconfigs_in(own, namespace, secret)
    members = words("MEMBERS") or sorted(found.keys() - {HUB})
    missing = [member for member in members if member not in found]
    if missing or not members:
        keys = ", ".join(sorted(found)) or "none"
        give_up(
            f"Secret {namespace}/{secret}: expected a kubeconfig of {', '.join(missing) or 'a member'}, got keys {keys}"
        )
    source = f"Secret {namespace}/{secret}, key"
    values = {"name": f"federation-link-{secrets.token_hex(6)}", "namespace": text("NAMESPACE", "default")}
    try:
        bodies = manifests(text("MANIFESTS", MANIFESTS), values, members)
    except ManifestError as error:
        give_up(f"parameter MANIFESTS: {error}")
    return Link(
        hub=access_from_kubeconfig(found[HUB], f"{source} {HUB}") if HUB in found else own.access,
        members={member: access_from_kubeconfig(found[member], f"{source} {member}") for member in members},
        bodies=bodies,
        member_path=_member_path(values),
    )


def _member_path(values: dict[str, str]) -> str:
    resource = text("SOUGHT", "v1/configmaps")
    if not re.fullmatch(r"([a-z0-9.-]+/)?v[0-9a-z]+/[a-z0-9]+", resource):
        give_up(f"parameter SOUGHT={resource!r}: expected [group/]version/plural, such as v1/configmaps")
    version, _, plural = resource.rpartition("/")
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{prefix}/namespaces/{values['namespace']}/{plural}/{values['name']}"


def create_objects(hub: Api, link: Link, this_run: Run, cleanup: Cleanup) -> list[HubObject]:
    """Create all objects on the hub, in order. A refusal by the hub is a finding, a missing permission is not."""
    objects = [hub_object_of(hub, labelled(body, this_run.labels)) for body in link.bodies]
    for one in objects:
        cleanup.create(one.collection, one.body)
    return objects


def delete_objects(hub: Api, objects: Sequence[HubObject], cleanup: Cleanup) -> None:
    """Delete all objects from the hub, last first."""
    for one in reversed(objects):
        hub.delete(one.path)
        cleanup.forget(one.path)


def record_observations(observations: Sequence[Observation], what: str, within: float) -> list[str]:
    """The problems, by member; the others' times are measured. Ends the run as unknown if nothing is known."""
    wrong: list[str] = []
    for one in observations:
        if one.seconds is not None:
            measure(f"{what}_{one.member}_s", round(one.seconds, 2))
        elif not one.forbidden:
            wrong.append(f"member {one.member}: {_why(one, what, within)}")
    forbidden = [f"{one.forbidden}, in member {one.member}" for one in observations if one.forbidden]
    if forbidden and not wrong:
        give_up("; ".join(forbidden))
    times = [one.seconds for one in observations if one.seconds is not None]
    measure(f"members_{what}", len(times))
    if times:
        measure(f"slowest_{what}_s", round(max(times), 2))
    return wrong + forbidden


def _why(one: Observation, what: str, within: float) -> str:
    if one.problem:
        return one.problem
    if what == "arrived":
        return f"the object does not exist {within:g} s after its creation on the hub"
    held = f": held by the finalizers {one.held}" if one.held else ""
    return f"the object still exists {within:g} s after its deletion on the hub{held}"


def _at_most(this_run: Run, seconds: float) -> float:
    """The given seconds, or at most half of the run's time left: creation and deletion must be checked."""
    return min(seconds, round(max(this_run.remaining() / 2 - 1, 0), 1))


def run_steps(hub: Api, link: Link, this_run: Run, cleanup: Cleanup) -> None:
    """Run every step; a member's problem is recorded with its step. Raises ApiError if the hub itself refuses."""
    with step("create"):
        objects = create_objects(hub, link, this_run, cleanup)
    within = _at_most(this_run, number("ARRIVAL_TIMEOUT", 30))
    arrivals = _run_step(
        "arrive", "arrived", within, lambda began: wait_until_created(link.members, link.member_path, began, within)
    )
    with step("delete"):
        delete_objects(hub, objects, cleanup)
    reached = {one.member: link.members[one.member] for one in arrivals if one.seconds is not None}
    within = _at_most(this_run, number("REMOVAL_TIMEOUT", 30))
    _run_step("gone", "gone", within, lambda began: wait_until_deleted(reached, link.member_path, began, within))


def _run_step(name: str, what: str, within: float, observe: Callable[[float], list[Observation]]) -> list[Observation]:
    """One step that may fail for some members; the next step still runs."""
    observations: list[Observation] = []
    with suppress(CheckFailed), step(name):
        observations = observe(time.monotonic())
        if wrong := record_observations(observations, what, within):
            raise CheckFailed(*wrong)
    return observations


@main
def probe() -> None:
    """Run all steps, and clean up the hub in any case. Objects that remain in members are reported."""
    this_run = run()
    with connect() as own:
        link = _read_link(own, text("SECRET_NAMESPACE", this_run.namespace or own.access.namespace))
        with ExitStack() as stack:
            hub = own if link.hub is own.access else stack.enter_context(Api(link.hub))
            cleanup = stack.enter_context(Cleanup(hub))
            try:
                run_steps(hub, link, this_run, cleanup)
            except ApiError as error:
                give_up_if_forbidden(error)
                raise CheckFailed(f"hub: {error}") from error
