"""Every built-in probe that creates objects, killed at random times: Kubernetes and one sweep delete all of them."""

import asyncio
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from cryptography.fernet import Fernet

from benchmarks.detection.seen import HEALTHY, RecordedRuns
from kubeprobe.catalog.setup import Creatable, TargetCluster, creatable
from kubeprobe.execution.leftovers import RunStates, Swept, sweep
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.fleet.inventory import Inventory
from kubeprobe.store import Cluster
from tests.harness.wait import until
from tests.probes.catalog import CLUSTER, case_of, catalog_of, namespace_of
from tests.probes.clusters import INSTALLATION, ProbeProcess, has_ended
from tests.probes.paths import pods_in
from tests.probes.scenario import SCENARIOS, Bed, Scenario

pytestmark = pytest.mark.real

PODS = 3
PROCESSES = 2
"""Run outside of the cluster, so that no pod owns their objects and only the sweeper deletes them."""
LONGEST_S = 30.0
"""The duration of the slowest probe on an idle cluster; recorded durations are from a busy one."""
SEED = 20261125
T = TypeVar("T")


def targets_of(folder: str) -> list[Creatable]:
    """The kinds of leftovers of a probe."""
    return creatable(catalog_of(folder), [case_of(folder)], TargetCluster(CLUSTER, namespace_of(folder)))


CREATING = [pytest.param(scenario, id=scenario.folder) for scenario in SCENARIOS if targets_of(scenario.folder)]


@pytest.mark.parametrize("scenario", CREATING)
def test_one_sweep_removes_everything_a_killed_probe_left(bed: Bed, scenario: Scenario) -> None:
    rng = random.Random(f"{SEED} {scenario.folder}")
    with scenario.ready(bed) as parameters:
        duration_s = min((LONGEST_S, *(run.seconds for run in RecordedRuns().of(HEALTHY, scenario.folder))))
        process = bed.cluster.process(scenario.folder, bed.tmp, **parameters)
        with ThreadPoolExecutor(PODS + PROCESSES) as pool:
            pods = [
                pool.submit(kill_pod, bed, scenario.folder, parameters, rng.uniform(0, duration_s)) for _ in range(PODS)
            ]
            processes = [pool.submit(kill_process, process, rng.uniform(0, duration_s)) for _ in range(PROCESSES)]
            runs = [killed.result() for killed in (*pods, *processes)]
        until("the probes' processes to end", lambda: not still_running(runs), 120)
        until(
            "Kubernetes to delete objects of the probes' pods",
            lambda: not owned_by_pods(bed, scenario.folder, runs),
            120,
        )
        left = {name.partition(" ")[2] for run in runs for name in bed.cluster.left_by(run)}
        ownerless = unowned(asyncio.run(find_created(bed, targets_of(scenario.folder), runs)))
        swept = asyncio.run(sweep_now(bed, targets_of(scenario.folder), runs))
        for run in runs:
            bed.cluster.wait_until_nothing_is_left_of(run)
    reported = {one.name for one in swept.removed}
    assert reported <= left, "the sweep reports an object that did not exist"
    assert ownerless <= reported, "the sweep does not report an object that it deleted"
    assert not (swept.not_allowed or swept.failed), swept


def kill_pod(bed: Bed, folder: str, parameters: Mapping[str, str], after_s: float) -> str:
    """Start a probe, delete its pod without grace after `after_s`; returns the run id."""
    with bed.for_a_thread() as own:
        name, run = own.cluster.start(folder, **parameters)
        path = f"{pods_in(namespace_of(folder))}/{name}"
        until(f"{name} to begin", lambda: began(own, path), within_s=90, every_s=0.1)
        time.sleep(after_s)
        own.api.delete(path, gracePeriodSeconds=0)
    return run


def still_running(runs: Sequence[str]) -> list[int]:
    """Processes of these runs, as a container may clean up for some seconds after its pod was deleted."""
    found = psutil.process_iter(["environ"])
    return [one.pid for one in found if (one.info["environ"] or {}).get("KUBEPROBE_RUN_ID") in runs]


def began(bed: Bed, path: str) -> bool:
    pod = bed.api.get(path)
    states = [status["state"] for status in pod["status"].get("containerStatuses") or ()]
    return has_ended(pod) or any("running" in state for state in states)


def kill_process(process: ProbeProcess, after_s: float) -> str:
    """Kill a probe's process after `after_s`; returns the run id."""
    run = "01test" + secrets.token_hex(10)
    with process.start(run) as running:
        time.sleep(after_s)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    return run


def owned_by_pods(bed: Bed, folder: str, runs: Sequence[str]) -> list[str]:
    """The objects of these runs that still wait for Kubernetes' garbage collector."""
    found = asyncio.run(find_created(bed, targets_of(folder), runs))
    return [
        f"{body['name']}"
        for body in found
        if any(owner["kind"] == "Pod" for owner in body.get("ownerReferences") or ())
    ]


def unowned(found: Sequence[dict[str, Any]]) -> set[str]:
    """The objects that neither are being deleted nor depend on another one, and would stay for ever."""
    names = {body["name"] for body in found}  # deleting a namespace deletes its content
    return {
        f"{body['namespace']}/{body['name']}" if "namespace" in body else body["name"]
        for body in found
        if not body.keys() & {"deletionTimestamp", "ownerReferences"} and body.get("namespace") not in names
    }


async def find_created(bed: Bed, targets: Sequence[Creatable], runs: Sequence[str]) -> list[dict[str, Any]]:
    async def find(inventory: Inventory) -> list[dict[str, Any]]:
        chosen = f"kubeprobe.io/run in ({','.join(runs)}),!kubeprobe.io/case"
        paths = [await inventory.collection(one.group, one.resource, one.namespace) for one in targets]
        return [body for path in paths if path for body in await inventory.find(path, chosen)]

    return await with_inventory(bed, find)


async def sweep_now(bed: Bed, targets: Sequence[Creatable], runs: Sequence[str]) -> Swept:
    """KubeProbe's own sweep, as one minute after these runs' outcomes."""
    now = datetime.now(UTC)

    async def run_states(_: Sequence[str]) -> RunStates:
        return RunStates(ended=dict.fromkeys(runs, now - timedelta(minutes=2)))

    return await with_inventory(bed, lambda inventory: sweep(inventory, targets, INSTALLATION, run_states, now))


async def with_inventory(bed: Bed, what: Callable[[Inventory], Awaitable[T]]) -> T:
    cipher = Cipher(Fernet.generate_key().decode())
    connection = from_kubeconfig(Path(bed.testbed.instance.kubeconfig))
    row = Cluster(
        name=CLUSTER,
        connection_kind=connection.kind,
        connection=cipher.seal(connection),
        created_at=datetime.now(UTC),
    )
    clients = ClusterClients(cipher)
    try:
        return await what(Inventory(await clients.get(row)))
    finally:
        await clients.close()
