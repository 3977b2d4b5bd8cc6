"""Every metric is documented, and no input adds a series."""

import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest
import yaml
from honcho.environ import parse_procfile
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from kubeprobe import metrics
from kubeprobe.app import Installation
from kubeprobe.fleet.errors import Cause
from kubeprobe.fleet.measuring import describe
from kubeprobe.metrics.listener import PORT_OFFSETS
from kubeprobe.queue import Queue
from kubeprobe.response.targets import KINDS
from kubeprobe.settings import Settings
from kubeprobe.store import open_store
from kubeprobe.web.metrics import InstallationMetrics, _queues

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ROW = re.compile(r"^\| `(kubeprobe_\w+)` \| (\w+) \|\s*([^|]*?)\s*\| [^|]+ \|$", re.MULTILINE)
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LISTS = {
    "trigger": metrics.TRIGGERS,
    "verdict": metrics.VERDICTS,
    "reason": metrics.REASONS,
    "verb": metrics.VERBS,
    "kind": metrics.KINDS | metrics.WATCHED | metrics.SET_ASIDE_KINDS,
    "status": metrics.STATUSES,
    "cause": metrics.CAUSES,
    "target": metrics.TARGETS,
    "result": metrics.RESULTS,
    "process": metrics.PROCESSES,
}
ANY = st.text() | st.sampled_from(sorted({str(value) for values in LISTS.values() for value in values}))


def of_this_process() -> list[MetricWrapperBase]:
    found = [one for one in metrics.REGISTRY._collector_to_names if isinstance(one, MetricWrapperBase)]
    assert len(found) > 10
    return found


def of_the_installation() -> list[Metric]:
    store = open_store("sqlite://")
    try:
        return list(InstallationMetrics(Installation(Settings(), store, Queue.connect("redis://"))).describe())
    finally:
        store.close()


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    return ("version", "process") if metric._type == "info" else metric._labelnames


def documented_name(name: str, kind: str) -> str:
    return name + {"counter": "_total", "info": "_info"}.get(kind, "")


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(OPERATIONS)}
    registered = {documented_name(one._name, one._type): (one._type, labels_of(one)) for one in of_this_process()}
    read = {one.name: (one.type, tuple(getattr(one, "_labelnames", ()))) for one in of_the_installation()}
    assert documented == registered | read


def test_the_documented_alerting_rules_use_existing_metrics() -> None:
    names = {documented_name(one._name, one._type) for one in of_this_process()}
    names |= {one.name for one in of_the_installation()}
    names |= {f"{one._name}_bucket" for one in of_this_process() if one._type == "histogram"}
    (rules,) = re.findall(r"```yaml\n(.*?)```", OPERATIONS, re.DOTALL)
    expressions = [rule["expr"] for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]]
    queries = OPERATIONS[OPERATIONS.index("For a dashboard") :]
    used = set(re.findall(r"\bkubeprobe_\w+", " ".join(expressions) + queries))
    assert used
    assert used <= names


@given(ANY, ANY, ANY, st.integers(0, 999))
def test_no_input_adds_a_series(one: str, two: str, three: str, status: int) -> None:
    metrics.record_opened([(one, NOON)], NOON)
    metrics.record_outcome(one, two, three, 1)
    metrics.record_stored(NOON, NOON + timedelta(seconds=1), None)
    metrics.record_cluster_request(one, two, status, 0.1)
    metrics.record_watch_failure(one, two)
    metrics.record_delivery(one, two)
    metrics.record_process(one)
    metrics.record_set_aside(one)
    for family in metrics.REGISTRY.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in ("le", "version"):
                    assert value in LISTS[label] | {metrics.OTHER}, sample


@pytest.mark.parametrize(
    ("method", "path", "watch", "expected"),
    [
        ("GET", "/api/v1/namespaces/kubeprobe/pods", False, ("list", "pods")),
        ("GET", "/api/v1/namespaces/kubeprobe/pods", True, ("watch", "pods")),
        ("GET", "/api/v1/namespaces/kubeprobe/pods/kp-1", False, ("get", "pods")),
        ("GET", "/api/v1/namespaces/kubeprobe/pods/kp-1/log", False, ("get", "pods/log")),
        ("POST", "/api/v1/namespaces/kubeprobe/pods", False, ("create", "pods")),
        ("DELETE", "/api/v1/namespaces/kubeprobe/pods/kp-1", False, ("delete", "pods")),
        ("GET", "/api/v1/nodes", True, ("watch", "nodes")),
        ("GET", "/api/v1/namespaces/kubeprobe", False, ("get", "namespaces")),
        ("GET", "/k8s/clusters/c-1/api/v1/nodes", False, ("list", "nodes")),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", False, ("patch", "deployments")),
        ("GET", "/version", False, ("get", "version")),
        ("GET", "/k8s/version", False, ("get", "version")),
    ],
)
def test_requests_are_named_by_verb_and_resource(
    *, method: str, path: str, watch: bool, expected: tuple[str, str]
) -> None:
    assert describe(method, path, watch=watch) == expected


def test_processes_of_one_machine_do_not_share_a_port() -> None:
    procfile = parse_procfile((resources.files("kubeprobe.up") / "Procfile").read_text())
    assert PORT_OFFSETS.keys() == procfile.processes.keys() - {"web", "flower"}  # these serve metrics themselves
    assert len(set(PORT_OFFSETS.values())) == len(PORT_OFFSETS)


def test_pools_beyond_the_limit_share_one_series() -> None:
    labels = _queues([f"pool-{number:03}" for number in range(500)], most=3)
    assert len(labels) == 504
    assert set(labels.values()) == {
        "request",
        "response",
        "delivery",
        "housekeeping",
        "launch.pool-000",
        "launch.pool-001",
        "launch.pool-002",
        "launch (others)",
    }


def test_every_kind_of_target_and_cause_has_a_label_of_its_own() -> None:
    assert KINDS.keys() | {"removed"} == metrics.TARGETS
    assert set(Cause) <= metrics.CAUSES
