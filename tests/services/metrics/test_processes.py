"""Every process of the Procfile serves its metrics and logs its name."""

import json
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from kubeprobe.metrics import listener as listening
from kubeprobe.metrics.listener import PORT_OFFSETS, MetricsListener, serve_metrics
from kubeprobe.settings import Settings
from kubeprobe.store import open_store
from kubeprobe.store.migrate import migrate
from tests.harness.installation import Installation
from tests.harness.ports import free_port
from tests.harness.wait import until


def scrape(port: int, path: str = "/metrics") -> dict[str, dict[str, str]]:
    """Labels of the last sample of each series; empty while no process listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {sample.name: sample.labels for family in families for sample in family.samples}
    except (OSError, HTTPException):
        return {}


def is_served(port: int) -> bool:
    """Whether a client gets the metrics."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def processes_logged(installation: Installation, name: str) -> set[str]:
    """The values of `process` in the log of a process."""
    lines = installation.log(name).splitlines(keepends=True)
    return {json.loads(line)["process"] for line in lines if line.startswith("{") and line.endswith("\n")}


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports."""
    ports = [free_port()]
    while len(ports) < count:
        following = free_port()
        ports = [*ports, following] if following == ports[-1] + 1 else [following]
    return ports[0]


def test_each_process_has_its_own_port_and_its_name_in_metrics_and_logs(tmp_path: Path) -> None:
    first, address = free_ports(len(PORT_OFFSETS)), f"sqlite:///{tmp_path / 'kubeprobe.db'}"
    store = open_store(address)
    migrate(store, datetime.now(UTC))
    store.close()
    environment = {"KUBEPROBE_METRICS_PORT": str(first), "KUBEPROBE_LOG_FORMAT": "json"}
    with Installation(tmp_path, address, environment) as installation:
        installation.start_all()
        for process, offset in PORT_OFFSETS.items():
            found = until(f"metrics of {process}", partial(scrape, first + offset), within_s=90)
            assert found["kubeprobe_build_info"]["process"] == process
            assert {"process_resident_memory_bytes", "kubeprobe_leases_held"} <= found.keys()
            logged = until(f"a line of {process}", partial(processes_logged, installation, process))
            assert logged == {process}


def test_metrics_are_not_served_by_default() -> None:
    assert Settings().metrics_port == 0
    assert serve_metrics(Settings(), "launcher") is None


def test_a_metrics_port_in_use_is_not_an_error() -> None:
    settings = Settings(metrics_port=free_ports(len(PORT_OFFSETS)))
    first = serve_metrics(settings, "launcher")
    assert first is not None
    assert serve_metrics(settings, "launcher") is None
    assert "kubeprobe_build_info" in scrape(first.port)
    first.close()


def test_other_paths_are_not_found() -> None:
    listener = MetricsListener(("127.0.0.1", 0), CollectorRegistry())
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{listener.port}/", timeout=60)
    listener.close()


def test_silent_clients_are_disconnected_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening._Handler, "timeout", 0.3)
    listener = MetricsListener(("127.0.0.1", 0), CollectorRegistry())
    silent = [socket.create_connection(("127.0.0.1", listener.port), 60) for _ in range(listening.AT_A_TIME + 2)]
    assert [client.recv(1) for client in silent] == [b""] * len(silent)  # closed by the server
    monkeypatch.undo()
    until("their slots to be free", lambda: is_served(listener.port))
    for client in silent:
        client.close()
    listener.close()
