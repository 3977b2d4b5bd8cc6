"""`kubeprobe cluster setup`: what cases need in a cluster, printed for `kubectl apply`, or applied."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ruamel.yaml import YAML

from kubeprobe.catalog import Catalog, Place, cases_bound_to, load_catalog, setup_objects
from kubeprobe.catalog.setup import Applied, Doing, apply_objects, creatable, loosening, own_objects
from kubeprobe.catalog.setup.own import OWN_ACCOUNT
from kubeprobe.cli.frame import NOT_DONE
from kubeprobe.cli.output import Columns, console, print_json, remark, styled, working
from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store

LOOK_FOR_S = 5.0
"""Printing needs no cluster, so one that is silent is not waited for."""
NAMED = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """What a person asked for."""

    cluster: str
    cases: tuple[str, ...] = ()
    all_cases: bool = False
    own: bool = False


@dataclass(frozen=True)
class _Setup:
    """What a cluster is to have, and for which cases."""

    cluster: Cluster
    catalog: Catalog
    cases: Sequence[str]
    running: Sequence[str]
    """These, and whatever bindings run there."""
    objects: list[dict[str, Any]]


def print_setup(store: Store, settings: Settings, choice: Choice, admin: Connection | None, *, as_json: bool) -> None:
    """Print the objects; what they are, and what they would change, on standard error."""
    found = _plan(store, choice)
    if as_json:
        print_json({"apiVersion": "v1", "kind": "List", "items": found.objects})
    else:
        yaml = YAML()
        yaml.explicit_start = True
        yaml.dump_all(found.objects, sys.stdout)
    remark(f"{_about(found)}. Nothing was changed: pipe this to `kubectl apply -f -`, or say --apply.")
    if why := _asked(found, settings, admin, lambda api: _look(api, found)):
        remark(f"Mind: {why}.", "yellow")


def apply_setup(store: Store, settings: Settings, choice: Choice, admin: Connection | None, *, as_json: bool) -> int:
    """Make the objects in the cluster, and tell what was done about each; gives the exit code."""
    found = _plan(store, choice)

    async def make(api: ClusterApi) -> tuple[str | None, list[Applied]]:
        return await _look(api, found), await apply_objects(api, found.objects)

    with working(f"Setting up {choice.cluster} ..."):
        why, applied = _ask(found, settings, admin, make)
    if as_json:
        print_json(applied)
    else:
        _show(found, applied)
    if why:
        remark(f"Changed, for {why}.", "yellow")
    refused = [one for one in applied if one.done is Doing.REFUSED]
    if refused and not as_json:
        console().print(
            f"{len(refused)} of {len(applied)} refused. An administrator can do it: `kubeprobe cluster setup "
            f"{choice.cluster} --apply --kubeconfig FILE`, or without --apply, `| kubectl apply -f -`.",
            style="red",
        )
    return NOT_DONE if refused else 0


def _plan(store: Store, choice: Choice) -> _Setup:
    with store.reading() as session:
        cluster = clusters.get(session, choice.cluster)
        catalog = load_catalog(session)
    place = place_of(cluster)
    cases = _chosen(catalog, choice, place)
    bound = cases_bound_to(catalog, place)
    running = sorted({*cases, *bound})
    objects = setup_objects(catalog, cases, place, bound)
    if choice.own:
        objects += own_objects(creatable(catalog, running, place), place)
    return _Setup(cluster, catalog, cases, running, objects)


def place_of(cluster: Cluster) -> Place:
    """A cluster, as far as its roles depend on it."""
    return Place(cluster.name, cluster.namespace, cluster.labels)


def _chosen(catalog: Catalog, choice: Choice, place: Place) -> list[str]:
    if not catalog.cases:
        raise InvalidInputError("The catalog has no cases yet. `kubeprobe apply --built-in` adds KubeProbe's own.")
    if choice.all_cases or choice.cases:
        return sorted(catalog.cases) if choice.all_cases else list(choice.cases)
    if bound := cases_bound_to(catalog, place):
        return bound
    raise InvalidInputError(
        f"No binding runs anything on {choice.cluster}: say --cases {','.join(sorted(catalog.cases)[:2])} or --all, "
        "or bind some first (`kubeprobe apply`)."
    )


def _about(found: _Setup) -> str:
    named = ", ".join(found.cases[:NAMED]) + (
        f" and {len(found.cases) - NAMED} more" if len(found.cases) > NAMED else ""
    )
    others = len(set(found.catalog.cases) - set(found.cases))
    more = f" ({others} other cases: --cases, --all)" if others else ""
    return f"What {found.cluster.name} needs for {named}{more}"


def _show(found: _Setup, applied: Sequence[Applied]) -> None:
    Columns("DONE", "KIND", "NAME", "").print(
        (styled(str(one.done)), one.kind, f"{one.namespace}/{one.name}" if one.namespace else one.name, one.told)
        for one in applied
    )
    counts = {done: sum(one.done is done for one in applied) for done in Doing}
    console().print(
        f"{_about(found)}: " + ", ".join(f"{count} {done}" for done, count in counts.items() if count) + "."
    )
    if any((one.kind, one.name) == ("ServiceAccount", OWN_ACCOUNT) for one in applied):
        place = found.cluster
        remark(
            f"For a connection of few rights, make a kubeconfig with a token of ServiceAccount {OWN_ACCOUNT} (`kubectl "
            f"-n {place.namespace} create token {OWN_ACCOUNT} --duration 8760h`), then `kubeprobe cluster add "
            f"{place.name} --replace --kubeconfig FILE`."
        )


async def _look(api: ClusterApi, found: _Setup) -> str | None:
    """Why the namespace that is there has to enforce less, if it has to."""
    [namespace] = [body for body in found.objects if body["kind"] == "Namespace"]
    try:
        there = await api.call("GET", f"/api/v1/namespaces/{namespace['metadata']['name']}")
    except ClusterError:
        return None
    return loosening(there, namespace, found.catalog, found.running)


def _asked(
    found: _Setup, settings: Settings, admin: Connection | None, what: Callable[[ClusterApi], Awaitable[T]]
) -> T | None:
    """The answer, if the cluster gives one soon."""
    try:
        return _ask(found, settings, admin, lambda api: asyncio.wait_for(what(api), LOOK_FOR_S))
    except (ClusterError, TimeoutError):
        return None


def _ask(found: _Setup, settings: Settings, admin: Connection | None, what: Callable[[ClusterApi], Awaitable[T]]) -> T:
    """Ask the cluster something, by its own connection or an administrator's."""
    cipher = Cipher.from_settings(settings)
    row = found.cluster
    if admin is not None:
        row = Cluster(**{**row.model_dump(), "connection": cipher.seal(admin), "connection_kind": admin.kind})

    async def asked() -> T:
        clients = ClusterClients(cipher)
        try:
            return await what(await clients.get(row))
        finally:
            await clients.close()

    return asyncio.run(asked())
