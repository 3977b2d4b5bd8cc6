"""Memory use of capacity's lists."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

from probes.capacity.probe import check_pods, check_quotas

Json = dict[str, Any]
PAGES, ON_A_PAGE, BALLAST = 20, 50, 20_000


class BigCluster:
    """Lists many large objects; each page is created at its request."""

    def __init__(self, body: Json, *paths: str) -> None:
        self.body = body
        self.paths = paths

    def pages(self, path: str, _size: int, **_query: str) -> Iterator[list[Json]]:
        for page in range(PAGES if path.endswith(self.paths) else 0):
            yield [self.large(f"big-{page}-{number}") for number in range(ON_A_PAGE)]

    def large(self, name: str) -> Json:
        """An object with the size of managed fields and images."""
        metadata = {"namespace": "shop", "name": name, "managedFields": ["x" * BALLAST]}
        return {"metadata": metadata, **self.body}


def peak(check: Any, cluster: BigCluster) -> tuple[list[str], int]:
    """The findings of a check, and its peak memory in bytes."""
    tracemalloc.start()
    try:
        return check(cluster), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_node_is_checked_by_its_reduced_object() -> None:
    as_node = {"podCIDRs": ["10.244.0.0/30"]}, {"allocatable": {"pods": "2", "cpu": "4"}}
    as_pod = {"nodeName": "big-7-7"}, {"phase": "Running"}
    spec, status = ({**node, **pod} for node, pod in zip(as_node, as_pod, strict=True))
    cluster = BigCluster({"spec": spec, "status": status}, "/nodes", "/pods")
    problems, most = peak(check_pods, cluster)
    assert problems == [
        "node big-7-7: pods: 1000 of 2 in use, 5e+04 % (NODE_PODS_PERCENT is 90)",
        "node big-7-7: pod addresses of 10.244.0.0/30: 1000 of 2 in use, 5e+04 % (POD_ADDRESSES_PERCENT is 90)",
    ]
    assert most < PAGES * ON_A_PAGE * BALLAST / 4


def test_a_quota_is_checked_by_its_reduced_object() -> None:
    status = {"hard": {"pods": "10", "secrets": "5"}, "used": {"pods": "10"}}
    problems, most = peak(check_quotas, BigCluster({"spec": {}, "status": status}, "/resourcequotas"))
    assert len(problems) == PAGES * ON_A_PAGE
    assert problems[0] == "resourcequota shop/big-0-0: pods: 10 of 10 in use, 100 % (QUOTA_PERCENT is 90)"
    assert most < PAGES * ON_A_PAGE * BALLAST / 4
