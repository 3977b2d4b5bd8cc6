"""The alerts of a real Alertmanager that KubeProbe sends to."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import pytest

from kubeprobe.catalog import CatalogCache
from kubeprobe.response import repeat_alerts, respond
from kubeprobe.response.routes import TargetRef
from kubeprobe.vocabulary import NotificationState, Verdict
from tests.harness.need import lacking
from tests.harness.ports import free_port
from tests.harness.wait import until
from tests.services.response.given import World, send

SENT = NotificationState.SENT
AM = TargetRef("am", "am")
CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """The address of a real Alertmanager."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        lacking("Alertmanager is not installed (apt-get install prometheus-alertmanager)")
    (tmp_path / "config.yml").write_text(CONFIG)
    url = f"http://127.0.0.1:{free_port()}"
    arguments = [
        f"--config.file={tmp_path / 'config.yml'}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([program, *arguments], stdout=log, stderr=log) as process,
    ):
        try:
            until("Alertmanager to be ready", lambda: _ready(url) or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield url
        finally:
            process.terminate()


def _ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def alerts(url: str) -> list[dict[str, Any]]:
    """The alerts that are firing now."""
    with urlopen(f"{url}/api/v2/alerts", timeout=60) as answer:
        found: list[dict[str, Any]] = orjson.loads(answer.read())
    return found


def test_an_alert_fires_is_repeated_and_resolves(world: World, catalogs: CatalogCache, alertmanager: str) -> None:
    # Alertmanager lives in real time, so this story does too.
    world.noon = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=3)
    world.case(severity="critical", owner="platform", runbook="https://runbooks.example/pods")
    world.route("am", {"name": "am", "alertmanager": {"url": f"{alertmanager}/"}})
    run = world.outcome(Verdict.FAIL, 0, report={"errors": ["not ready"]})
    assert respond(world.store, catalogs, world.at(1)).deliver == [AM]
    assert send(world, catalogs, world.at(1), "am", "am") is SENT
    (fired,) = alerts(alertmanager)
    assert fired["labels"] == {
        "alertname": "KubeProbeFailing",
        "case": "pod-lifecycle",
        "cluster": "prod-1",
        "severity": "critical",
        "owner": "platform",
    }
    assert fired["annotations"]["runbook_url"] == "https://runbooks.example/pods"
    assert "- not ready" in fired["annotations"]["description"]
    assert fired["annotations"]["run"] == run
    assert fired["generatorURL"].startswith("urn:kubeprobe:alert:")
    assert datetime.fromisoformat(fired["startsAt"]) == world.at(0)

    assert repeat_alerts(world.store, catalogs, world.at(2)).deliver == [AM]
    assert send(world, catalogs, world.at(2), "am", "am") is SENT
    (repeated,) = alerts(alertmanager)
    assert repeated["fingerprint"] == fired["fingerprint"]
    assert datetime.fromisoformat(repeated["endsAt"]) > datetime.fromisoformat(fired["endsAt"])

    # Owner and severity changed meanwhile: the alert that fires is to be found again all the same.
    world.case(severity="info", owner="storage")
    world.outcome(Verdict.PASS, 2.5)
    assert respond(world.store, catalogs, world.at(3)).deliver == [AM]
    assert send(world, catalogs, world.at(3), "am", "am") is SENT
    assert alerts(alertmanager) == []
