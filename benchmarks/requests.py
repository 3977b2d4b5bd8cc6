"""API requests per run on the target cluster, from the API server's own `apiserver_request_total`.

KubeProbe uses a service account with a FlowSchema of its own, so the API server counts all its requests. Nobody else
creates or lists pods meanwhile; the fake node writes their status, finishes deletions and has a watch of its own. On
the local cluster, whose simulated pods end by themselves, all requests for pods are KubeProbe's.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.installation import MeasuredInstallation, fake_node, in_a_moment, installed
from benchmarks.meters import dispatched, requests
from benchmarks.report import Table
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.credentials import Connection, from_kubeconfig
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.fleet.transport import Request
from tests.harness.fakenode import api_of
from tests.harness.wait import until

NEEDS_REAL_CLUSTER = True
RUNS = 300
DURATION_S = 110.0
"""Long enough for the API server to end two watches."""
NAME = "kubeprobe-bench"
NAMESPACE = "kubeprobe"


def run(kubeconfig: Path) -> list[Table]:
    """The real API server, then the local cluster."""
    table = Table(
        f"API requests for {RUNS:,} runs within {DURATION_S:.0f} s",
        ["cluster", "POST pods", "LIST, GET pods", "all of KubeProbe", "other than create and delete", "per run"],
    )
    with installed("PostgreSQL") as installation, fake_node(kubeconfig):
        asyncio.run(_set_up_account(kubeconfig))
        connection = _as_service_account(kubeconfig)
        _report(table, "real", _difference(installation, connection, lambda: _real(kubeconfig)))
    with installed("PostgreSQL") as installation, local_cluster(1) as local:
        connection = from_kubeconfig(local, "c0001")
        _report(table, "local", _difference(installation, connection, lambda: _local(local)))
    table.notes.append("Other than create and delete: the watch, which the API server ends every 50 s.")
    return [table]


@dataclass(frozen=True)
class Reading:
    """Counts of an API server; `ours` are all requests of KubeProbe."""

    by_verb: Counter[str]
    ours: int


def _real(kubeconfig: Path) -> Reading:
    metrics = read_metrics(kubeconfig)
    return Reading(requests(metrics), dispatched(metrics, NAME))


def _local(kubeconfig: Path) -> Reading:
    counts = requests(read_metrics(kubeconfig))
    return Reading(counts, sum(n for what, n in counts.items() if what.partition(" ")[2].startswith("pods")))


def _difference(installation: MeasuredInstallation, connection: Connection, read: Callable[[], Reading]) -> Reading:
    """The counts between two steady states, with RUNS runs in between."""
    installation.add_cluster("target", connection, max_in_flight=500)
    installation.start()
    installation.schedule(50, ["target"], in_a_moment())
    installation.wait_for(50)  # so that the first list is not counted
    time.sleep(2)
    before, began = read(), time.monotonic()
    installation.schedule(RUNS, ["target"], in_a_moment())
    installation.wait_for(50 + RUNS)
    time.sleep(max(2.0, DURATION_S - (time.monotonic() - began)))
    after = read()
    return Reading(after.by_verb - before.by_verb, after.ours - before.ours)


def _report(table: Table, cluster: str, found: Reading) -> None:
    read = found.by_verb["LIST pods"] + found.by_verb["GET pods"]
    table.add(cluster, found.by_verb["POST pods"], read, found.ours, found.ours - 2 * RUNS, found.ours / RUNS)


def read_metrics(kubeconfig: Path) -> str:
    """The text of an API server's /metrics."""

    async def read() -> str:
        clients, cluster = api_of(kubeconfig)
        try:
            return (await (await clients.get(cluster)).send(Request("GET", "/metrics"))).data.decode()
        finally:
            await clients.close()

    return asyncio.run(read())


@contextmanager
def local_cluster(size: int) -> Iterator[Path]:
    """A fleet of simulated clusters whose pods end at once; yields its kubeconfig, with contexts c0001 and so on."""
    with tempfile.TemporaryDirectory(prefix="kubeprobe-bench-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        command = [sys.executable, "-m", "kubeprobe.localcluster", "--clusters", str(size), "--script", '{"after": 0}']
        process = subprocess.Popen(
            [*command, "--dir", folder, "--kubeconfig", str(kubeconfig)], stdout=subprocess.PIPE, text=True
        )
        try:
            until("the local cluster is ready", lambda: process.stdout and process.stdout.readline())
            yield kubeconfig
        finally:
            process.terminate()
            process.wait(timeout=30)


async def _set_up_account(kubeconfig: Path) -> None:
    """Create the service account, its role, and its FlowSchema."""
    clients, cluster = api_of(kubeconfig)
    api = await clients.get(cluster)
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    flow = {
        "priorityLevelConfiguration": {"name": "exempt"},  # counted, but not throttled
        "matchingPrecedence": 10,
        "rules": [
            {
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": NAME, "namespace": NAMESPACE}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
            }
        ],
    }
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    await _create(api, f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {})
    await _create(api, f"{rbac}/roles", {"rules": rules})
    await _create(api, f"{rbac}/rolebindings", {"subjects": [account], "roleRef": role})
    await _create(api, flows, {"spec": flow})
    await clients.close()


async def _create(api: ClusterApi, path: str, content: dict[str, Any]) -> None:
    try:
        await api.call("POST", path, body={"metadata": {"name": NAME}, **content})
    except ClusterError as error:
        if error.cause is not Cause.ALREADY_EXISTS:
            raise


def _as_service_account(kubeconfig: Path) -> Connection:
    """The administrator's connection, with the service account's token instead of the certificate."""

    async def token() -> str:
        clients, cluster = api_of(kubeconfig)
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAME}/token"
        answer = await (await clients.get(cluster)).call("POST", path, body={"spec": {"expirationSeconds": 7200}})
        await clients.close()
        return str(answer["status"]["token"])

    config = orjson.loads(orjson.dumps(from_kubeconfig(kubeconfig).config))
    for user in config["users"]:
        user["user"] = {"token": asyncio.run(token())}
    return Connection(from_kubeconfig(kubeconfig).kind, config)
