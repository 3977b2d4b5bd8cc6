import itertools
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from probes import _watching
from probes._access import Access
from probes._api import Api, ApiError
from probes._watching import ObjectWatch
from tests.probes.scripted import Answer, ScriptedApi, scripted_api

PATH = "/api/v1/namespaces/a/pods/p"
WAITING: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "done": False}
DONE: dict[str, Any] = {"metadata": {"resourceVersion": "2"}, "done": True}
CONNECTION_CLOSED: Answer = (200, None)
NO_EVENTS: Answer = (200, b"")


def status(code: int) -> Answer:
    return code, {"kind": "Status", "code": code, "reason": "r", "message": "m"}


def events(*pairs: tuple[str, Any]) -> Answer:
    return 200, b"".join(json.dumps({"type": kind, "object": content}).encode() + b"\n" for kind, content in pairs)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watching, "RECONNECT_PAUSE", 0)


@pytest.fixture
def server() -> Iterator[ScriptedApi]:
    with scripted_api() as server:
        yield server


@pytest.fixture
def watch(server: ScriptedApi) -> Iterator[ObjectWatch]:
    with Api(Access(f"http://127.0.0.1:{server.server_port}")) as api:
        yield ObjectWatch(api, PATH, WAITING)


def is_done(pod: dict[str, Any]) -> bool:
    return bool(pod["done"])


@pytest.mark.parametrize(
    "answers",
    [
        [events(("MODIFIED", WAITING), ("MODIFIED", DONE))],
        [CONNECTION_CLOSED, events(("MODIFIED", DONE))],
        [status(503), status(429), events(("MODIFIED", DONE))],
        [NO_EVENTS, (200, DONE)],
        [NO_EVENTS, status(500), events(("MODIFIED", DONE))],
        [events(("ERROR", status(410)[1])), (200, DONE)],
        [status(410), (200, WAITING), events(("MODIFIED", DONE))],
    ],
)
def test_a_watch_survives_interruptions(server: ScriptedApi, watch: ObjectWatch, answers: list[Answer]) -> None:
    server.answers = answers
    assert watch.until(is_done, 20)
    assert (watch.object, watch.problem, server.answers) == (DONE, "", [])


@pytest.mark.parametrize("answers", [[events(("DELETED", WAITING))], [NO_EVENTS, status(404)]])
def test_a_deleted_pod_is_empty(server: ScriptedApi, watch: ObjectWatch, answers: list[Answer]) -> None:
    server.answers = answers
    assert watch.until(is_done, 20)
    assert watch.object == {}


def test_an_unavailable_api_is_reported_after_the_time_out(
    server: ScriptedApi, watch: ObjectWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(step=5.0)
    monkeypatch.setattr(_watching, "time", SimpleNamespace(monotonic=lambda: next(ticks), sleep=lambda _s: None))
    server.answers = [CONNECTION_CLOSED] * 100
    assert not watch.until(is_done, 60)
    assert len(server.requests) > 3
    assert watch.object == WAITING
    assert watch.problem.startswith("no answer from the API server")


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_ends_the_wait(server: ScriptedApi, watch: ObjectWatch, code: int) -> None:
    server.answers = [status(code)]
    with pytest.raises(ApiError):
        watch.until(is_done, 20)
