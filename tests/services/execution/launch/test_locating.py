"""What a launcher waits for before its requests: the secret key, credentials; and that it ends with its claim."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from sqlmodel import select
from structlog.testing import capture_logs

from kubeprobe.execution import locations
from kubeprobe.execution.launch import ONE_REQUEST, Launcher, latest_request
from kubeprobe.execution.remove import remove_pods
from kubeprobe.fleet import access
from kubeprobe.fleet.credentials import Cipher, Connection
from kubeprobe.settings import Settings
from kubeprobe.store import PodLocation, Store
from kubeprobe.vocabulary import Reason, RunState
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import Clock, ExecutionWorld
from tests.services.execution.launch.given import RUN, ids, launch


class WatchedCipher(Cipher):
    """Calls `before` before it reads the key."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def open(self, sealed: bytes) -> Connection:
        self.before()
        return super().open(sealed)


@pytest.fixture
def cipher() -> WatchedCipher:
    return WatchedCipher(Fernet.generate_key().decode())


@pytest.fixture
def silent(cipher: WatchedCipher) -> Iterator[threading.Event]:
    """The key cannot be read until this event, as on a network file system whose server is gone."""
    released = threading.Event()
    cipher.before = released.wait
    yield released
    released.set()


def location(world: ExecutionWorld) -> PodLocation:
    with world.store.reading() as session:
        return session.exec(select(PodLocation)).one()


def test_a_claim_lasts_longer_than_a_slot_and_a_request(settings: Settings) -> None:
    assert timedelta(0) < latest_request(settings.claim_timeout) <= settings.claim_timeout - ONE_REQUEST
    assert timedelta(0) < latest_request(ONE_REQUEST) < ONE_REQUEST


def test_the_secret_key_is_read_in_no_transaction(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, cipher: WatchedCipher, store: Store
) -> None:
    connections: list[int] = []
    cipher.before = lambda: connections.append(store.engine.pool.checkedout())  # type: ignore[attr-defined]
    launch(launcher, world)
    assert world.find(RUN).location == location(world).id
    world.end(RUN)
    remove_pods(launcher, "there", [RUN])
    assert (api.pods, set(connections)) == ({}, {0})


def test_a_secret_key_that_is_not_read_in_time_is_named(
    world: ExecutionWorld,
    launcher: Launcher,
    api: OddApi,
    silent: threading.Event,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(locations, "READ_WITHIN_S", 0.05)
        launch(launcher, world)
        run = world.find(RUN)
        assert (run.state, run.setback) == (RunState.PENDING, Reason.CREDENTIALS_UNAVAILABLE)
        assert (run.setback_message or "").endswith("no credentials: the secret key was not read within 0.05 s")
    silent.set()
    clock.now = run.launch_at
    launch(launcher, world)
    assert (world.find(RUN).state, len(api.pods)) == (RunState.RUNNING, 1)


def test_pods_are_not_removed_from_a_location_while_the_secret_key_is_not_read(
    world: ExecutionWorld,
    launcher: Launcher,
    api: OddApi,
    cipher: WatchedCipher,
    silent: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cipher.before = lambda: None
    launch(launcher, world)
    world.end(RUN)
    cipher.before = silent.wait
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(locations, "READ_WITHIN_S", 0.05)
        remove_pods(launcher, "there", [RUN])
    assert ("pods not deleted: location of the cluster not read", 1) in {(log["event"], len(api.pods)) for log in logs}
    silent.set()
    remove_pods(launcher, "there", [RUN])
    assert api.pods == {}


def test_a_connection_that_is_replaced_while_the_key_is_read_has_its_own_location(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, cipher: WatchedCipher
) -> None:
    world.move("there", "http://127.0.0.1:1")

    def move() -> None:
        cipher.before = lambda: None
        world.move("there", api.url)

    cipher.before = move
    launch(launcher, world)
    cluster = world.find_cluster("there")
    assert location(world).id == locations.location_id(cluster, launcher.clients) == world.find(RUN).location
    assert (location(world).connection_version, len(api.pods)) == (cluster.connection_version, 1)


def test_credentials_are_loaded_once_for_a_batch_before_its_requests(
    world: ExecutionWorld,
    launcher: Launcher,
    api: OddApi,
    settings: Settings,
    cipher: WatchedCipher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher.launch("there", [])  # its location is recorded
    released, loads = threading.Event(), list[str]()

    def wait() -> None:
        loads.append("load")
        released.wait()

    cipher.before = wait
    monkeypatch.setattr(access, "ACCESS_TIMEOUT_S", 0.05)
    batch = ids(4 * settings.launch_concurrency)
    world.change_cluster("there", max_in_flight=len(batch))
    launch(launcher, world, *batch)
    released.set()
    assert {(run.state, run.setback) for run in world.runs} == {(RunState.PENDING, Reason.CREDENTIALS_UNAVAILABLE)}
    assert (loads, api.requests, world.find_cluster("there").failures) == (["load"], [], 0)


def test_a_launch_ends_with_its_claim(world: ExecutionWorld, launcher: Launcher, settings: Settings) -> None:
    """As with new credentials after a 401: the next launcher has the run, and this one must not wait on."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = launcher.loop.run(asyncio.start_server(accept, "127.0.0.1", 0))
    world.reach("silent", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    brief = replace(launcher, settings=settings.model_copy(update={"claim_timeout": timedelta(seconds=0.2)}))
    launch(brief, world, RUN, cluster="silent")
    server.close()
    run = world.find(RUN)
    assert (run.state, run.setback, world.find_cluster("silent").failures) == (RunState.PENDING, None, 0)
