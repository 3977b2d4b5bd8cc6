"""KubeProbe from Python: request runs, record changes, query outcomes.

In a shell (`kubeprobe shell`) or a script: ``kubeprobe.run("pod-lifecycle", cluster="prod-1").wait()``. The
installation is the one that the environment names (KUBEPROBE_*), as on the command line. Use cases are in `app`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from kubeprobe import app
from kubeprobe.app import Installation, RequestedRuns
from kubeprobe.fleet import clusters as fleet_clusters
from kubeprobe.fleet.official import official_client
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
from kubeprobe.trigger import RunRequest
from kubeprobe.views import RunFilter, RunView, list_runs

MOST_OUTCOMES = 10_000


def run(
    case: str,
    *,
    cluster: str | None = None,
    clusters: Sequence[str] = (),
    selector: str = "",
    nodes: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
) -> RequestedRuns:
    """Run a case now, on one cluster or some of its nodes, on several, or on those whose labels match a selector."""
    named = (*((cluster,) if cluster else ()), *clusters)
    request = RunRequest(case, named, selector, parameters, nodes=tuple(nodes))
    return RequestedRuns(installation(), app.request_runs(installation(), request))


def change(
    component: str,
    version: str = "",
    *,
    clusters: Sequence[str],
    id: str = "",  # noqa: A002
) -> RequestedRuns:
    """Record that a component changed on clusters. `id` is an idempotency key: a repeated id opens no new runs."""
    run_ids = app.record_change(installation(), component, version, clusters=clusters, change_id=id)
    return RequestedRuns(installation(), run_ids)


def runs(
    case: str | None = None, cluster: str | None = None, verdict: str | None = None, limit: int = 20
) -> list[RunView]:
    """The newest runs."""
    wanted = RunFilter(case=case, cluster=cluster, verdict=verdict)
    return list(installation().read(list_runs, wanted, limit).items)


def outcomes(case: str | None = None, cluster: str | None = None, since_s: float = 3600) -> list[RunView]:
    """The runs of the last `since_s` seconds that have their outcome, newest first."""
    wanted = RunFilter(case=case, cluster=cluster, since=installation().clock() - timedelta(seconds=since_s))
    return [run for run in installation().read(list_runs, wanted, MOST_OUTCOMES).items if run.verdict is not None]


def cluster(name: str) -> Cluster:
    """A cluster. Raises NotFoundError with the nearest name."""
    return installation().read(fleet_clusters.get, name)


def api(cluster_name: str) -> Any:
    """The official client of a cluster: ``kubernetes.client.CoreV1Api(api("prod-1")).list_node()``."""
    return official_client(cluster(cluster_name), installation().cipher)


@cache
def installation() -> Installation:
    """The installation that the environment names, opened at its first use."""
    return Installation.open(Settings())
