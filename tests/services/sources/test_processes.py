"""Real processes: beat polls, a responder syncs, the web process receives a push."""

import hashlib
import hmac
import json
import urllib.request
from datetime import timedelta
from pathlib import Path

from kubeprobe.clock import utc_now
from kubeprobe.settings import Settings
from kubeprobe.sources import Secret, SyncContext
from kubeprobe.store import Store
from tests.harness.installation import Installation
from tests.harness.ports import free_port
from tests.harness.repository import Repository
from tests.harness.wait import until
from tests.services.sources.given import CASE, OTHER_CASE, World

SECRET = "correct-horse-battery-staple"
THIRD_CASE = CASE.replace("{name: dns}", "{name: third}")


def test_a_push_is_applied_within_seconds(
    store: Store, database_url: str, repository: Repository, tmp_path: Path
) -> None:
    world = World(SyncContext.of(store, Settings(data_dir=tmp_path / "installation")), repository, utc_now())
    world.add(secret=Secret(webhook=SECRET), every=timedelta(seconds=10))
    port = free_port()
    with Installation(tmp_path / "installation", database_url, {"KUBEPROBE_WEB_PORT": str(port)}) as installation:
        for name in ("valkey", "beat", "responder", "web"):
            installation.start(name)
        repository.push(catalog__o_yaml=OTHER_CASE)
        until(
            "the poll to apply it",
            lambda: "other" in world.cases(),
            within_s=180,
            instead=lambda: installation.log("responder"),
        )

        world.add(secret=Secret(webhook=SECRET), every=timedelta(days=1), replace=True)
        commit = repository.push(catalog__third_yaml=THIRD_CASE)
        until(
            "the web to listen",
            lambda: "running on" in installation.log("web"),
            within_s=120,
            instead=lambda: installation.log("web"),
        )
        assert push(port) == {"source": "team", "syncRequested": True, "reason": ""}
        until(
            "the push to apply it",
            lambda: "third" in world.cases(),
            within_s=120,
            instead=lambda: installation.log("responder"),
        )
        assert world.source().applied_commit == commit


def push(port: int) -> object:
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    url = f"http://127.0.0.1:{port}/api/v1/sources/team/webhook"
    headers = {"X-Hub-Signature-256": signature, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return json.load(answer)
