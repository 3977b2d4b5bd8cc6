"""Push webhooks over real HTTP: a push signed with the secret makes its source due, any other is rejected."""

import hashlib
import hmac
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path

import pytest
import redis
import uvicorn

from kubeprobe.app import Installation
from kubeprobe.queue import HOUSEKEEPING_QUEUE, Queue
from kubeprobe.settings import Settings
from kubeprobe.sources import Secret, SyncContext
from kubeprobe.store import DatabaseError, Store
from kubeprobe.web import make_app
from tests.harness.freeze import frozen
from tests.harness.installation import Installation as Processes
from tests.harness.ports import free_port
from tests.harness.repository import Repository
from tests.harness.wait import until
from tests.services.sources.given import CASE, OTHER_CASE, TEMPLATE, World

SECRET = "correct-horse-battery-staple"
PUSH = {"ref": "refs/heads/main", "after": "0" * 40}


class Server:
    """The web process, here in a thread."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def post(self, name: str, body: bytes, **headers: str) -> tuple[int, dict[str, object]]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(f"{self.url}/api/v1/sources/{name}/webhook", body, named)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def health(self) -> int:
        """The status of /healthz; 0 if nothing listens."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=30) as answer:
                return int(answer.status)
        except (OSError, HTTPException) as error:
            return getattr(error, "code", 0)

    def push(self, name: str = "team", secret: str = SECRET, **fields: object) -> tuple[int, dict[str, object]]:
        """A push as GitHub sends it."""
        body = json.dumps(PUSH | fields).encode()
        return self.post(name, body, Content_Type="application/json", X_Hub_Signature_256=signature(body, secret))


def signature(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture
def world(store: Store, tmp_path: Path, now: datetime) -> World:
    """The source `team`, whose next sync is due in an hour."""
    repository = Repository(tmp_path / "git")
    repository.push(catalog__all_yaml=f"{TEMPLATE}---\n{CASE}")
    made = World(SyncContext.of(store, Settings(data_dir=tmp_path / "data")), repository, now)
    made.add(secret=Secret(webhook=SECRET), every=timedelta(hours=1))
    return made


@pytest.fixture
def server(world: World, valkey: str) -> Iterator[Server]:
    broker = redis.Redis.from_url(valkey)
    broker.delete(HOUSEKEEPING_QUEUE)
    installation = Installation(
        world.context.settings, world.context.store, Queue.connect(valkey), clock=lambda: world.now
    )
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(make_app(installation), port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until("the server to listen", lambda: running.started)
    yield Server(port)
    running.should_exit = True
    thread.join(30)
    broker.close()


def test_a_signed_push_makes_the_source_due_at_once(server: Server, world: World, valkey: str) -> None:
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    assert world.poll() == []
    assert server.push() == (202, {"source": "team", "syncRequested": True, "reason": ""})
    broker = redis.Redis.from_url(valkey)
    assert b"kubeprobe.sync_sources" in broker.lindex(HOUSEKEEPING_QUEUE, 0)
    broker.close()
    assert len(world.poll(timedelta(0))) == 1
    assert world.cases() == {"dns", "other"}


def test_a_repeated_push_is_harmless(server: Server, world: World) -> None:
    for _ in range(3):
        assert server.push()[0] == 202
    assert [synced.applied for synced in world.poll(timedelta(0))] == [None]
    assert world.poll(timedelta(0)) == []


def test_a_push_to_another_branch_is_accepted_and_requests_no_sync(server: Server, world: World) -> None:
    assert server.push(ref="refs/heads/feature")[1]["syncRequested"] is False
    assert server.push(ref="refs/tags/main")[1]["syncRequested"] is False
    assert server.push(ref=None)[1]["syncRequested"] is False
    assert world.poll(timedelta(0)) == []


@pytest.mark.parametrize("name", ["team", "absent"])
def test_an_invalid_signature_and_an_unknown_source_get_the_same_answer(
    server: Server, world: World, name: str
) -> None:
    refused = (401, {"detail": "Invalid signature."})
    assert server.push(name, secret="guessed-guessed-guessed") == refused
    assert server.post(name, json.dumps(PUSH).encode()) == refused
    assert world.poll(timedelta(0)) == []


def test_the_signature_is_verified_before_the_body_is_parsed(server: Server) -> None:
    assert server.post("team", b"{")[0] == 401
    assert server.post("team", b"{", X_Hub_Signature_256=signature(b"{"))[0] == 400


def test_gitlab_tokens_and_github_forms_are_accepted(server: Server) -> None:
    body = json.dumps(PUSH).encode()
    assert server.post("team", body, Content_Type="application/json", X_Gitlab_Token=SECRET)[1]["syncRequested"]
    form = urllib.parse.urlencode({"payload": body.decode()}).encode()
    kind = "application/x-www-form-urlencoded"
    assert server.post("team", form, Content_Type=kind, X_Hub_Signature_256=signature(form))[1]["syncRequested"]


def test_a_body_that_is_too_large_is_rejected(server: Server) -> None:
    assert server.post("team", b"x" * 5_000_001)[0] == 413


def test_healthz_reports_ok(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/healthz", timeout=30) as answer:
        assert json.load(answer) == {"status": "ok"}


def test_an_impossible_name_is_like_an_unknown_source(server: Server) -> None:
    for name in ("%00", "No%20Name"):
        assert server.push(name)[0] == 401


def test_an_unavailable_database_is_reported_as_such(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("no database")

    monkeypatch.setattr("kubeprobe.web.webhooks.find_webhook", fail)
    assert server.push()[0] == 503


def test_a_frozen_broker_delays_neither_pushes_nor_health(world: World, tmp_path: Path) -> None:
    """The web process itself. A sync that its message did not reach is wanted in the store."""
    port = free_port()
    url = world.context.store.engine.url.render_as_string(hide_password=False)
    environment = {"KUBEPROBE_DATA_DIR": str(tmp_path / "data"), "KUBEPROBE_WEB_PORT": str(port)}
    with Processes(tmp_path, url, environment) as processes:
        processes.start("valkey")
        processes.start("web")
        server, broker = Server(port), redis.Redis(port=processes.broker_port)
        until("the web to listen", lambda: server.health() == 200, 120)
        before = world.source().next_sync
        with frozen(processes.pids()["valkey.0"]):
            for _ in range(3):
                assert server.push()[0] == 202
                assert server.health() == 200
            assert world.source().next_sync != before
            until("the web to give up", lambda: "broker unavailable" in processes.log("web"))
        until("a push to wake a worker", lambda: server.push() and broker.llen(HOUSEKEEPING_QUEUE))
        broker.close()
        assert "Traceback" not in processes.log("web")
