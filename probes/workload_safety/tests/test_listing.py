"""Memory use of workload-safety's lists."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

from probes.workload_safety import findings
from probes.workload_safety.probe import Inspection, Selection

Json = dict[str, Any]
PAGES, PER_PAGE, PADDING = 20, 20, 20_000
SELECTOR = {"matchLabels": {"app": "web"}}
BODIES: dict[str, Json] = {
    "poddisruptionbudgets": {
        "spec": {"minAvailable": 2, "selector": SELECTOR},
        "status": {"expectedPods": 2, "desiredHealthy": 2},
    },
    "deployments": {"spec": {"replicas": 1, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}}},
    "services": {"spec": {"selector": {"app": "web"}, "ports": []}},
}


class BigCluster:
    """Lists many large objects, each in its own namespace; each page is created at its request."""

    def __init__(self, annotations: Json | None = None) -> None:
        self.annotations = annotations or {}

    def pages(self, path: str, _size: int, **_query: str) -> Iterator[list[Json]]:
        body = BODIES.get(path.rpartition("/")[2])
        for page in range(PAGES if body else 0):
            yield [{"metadata": self.large(f"big-{page}-{number}"), **(body or {})} for number in range(PER_PAGE)]

    def large(self, namespace: str) -> Json:
        """An object with the size of managed fields and templates."""
        metadata = {"namespace": namespace, "name": "web", "annotations": self.annotations}
        return {**metadata, "managedFields": ["x" * PADDING]}


def inspect(cluster: Any) -> tuple[list[str], int]:
    """The findings for budgets and replicas, and the peak memory in bytes."""
    inspection = Inspection(cluster, Selection([], "", []))
    tracemalloc.start()
    try:
        return [*inspection.budgets(), *inspection.replicas()], tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_objects_are_checked_by_their_reduced_form() -> None:
    problems, peak = inspect(BigCluster())
    assert len(problems) == 2 * PAGES * PER_PAGE
    assert problems[0].startswith("poddisruptionbudget big-0-0/web blocks every eviction: with minAvailable 2 all 2 of")
    assert problems[-1].startswith("deployment big-19-19/web has 1 replica behind service web: ")
    assert peak < PAGES * PER_PAGE * PADDING / 2


def test_the_reduced_workload_has_the_annotation_of_an_intended_single_replica() -> None:
    problems, _peak = inspect(BigCluster({findings.INTENDED: "intended"}))
    assert [problem for problem in problems if "has 1 replica" in problem] == []
