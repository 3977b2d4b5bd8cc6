"""Failure mode 16: a cluster that accepts connections and never responds does not delay other clusters."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from kubeprobe.effects import Effects
from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet import transport
from kubeprobe.runs import resend_overdue
from kubeprobe.vocabulary import Reason, RunState
from tests.harness.wait import until
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import Clock, ExecutionWorld

HELD_UP = [f"01hbad{number:020}" for number in range(6)]
GOOD = [f"01hgood{number:019}" for number in range(20)]


class BlackHole:
    """A server that accepts every connection and never responds."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.taken: list[socket.socket] = []

    def takes_another(self) -> bool:
        """Whether there is another connection; it is kept open."""
        try:
            self.taken.append(self._listening.accept()[0])
        except BlockingIOError:
            return False
        return True

    def close_all(self) -> None:
        """Close every connection."""
        while self.takes_another():
            pass
        for connection in self.taken:
            connection.close()


@pytest.fixture
def black_hole() -> Iterator[BlackHole]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        made = BlackHole(listening)
        yield made
        made.close_all()


@pytest.fixture
def world(world: ExecutionWorld, api: OddApi, black_hole: BlackHole) -> ExecutionWorld:
    """One good cluster and one black hole, each with pending runs."""
    world.reach("good", api.url, max_in_flight=50)
    world.reach("hole", black_hole.url, max_in_flight=50)
    later = world.noon + timedelta(minutes=10)
    world.run(*GOOD, cluster="good", expires_at=later)
    world.run(*HELD_UP, cluster="hole", expires_at=later)
    return world


def test_runs_of_other_clusters_are_launched_while_a_cluster_does_not_answer(
    world: ExecutionWorld, launcher: Launcher, api: OddApi, black_hole: BlackHole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 300.0)
    with ThreadPoolExecutor(8) as threads:
        held_up = threads.submit(launcher.launch, "hole", HELD_UP[:-1])
        until("a request without a response", black_hole.takes_another)
        assert launcher.launch("good", GOOD) == Effects()
        assert len(api.pods) == len(GOOD)
        assert not held_up.done(), "the good cluster did not wait for the other's time-out"
        until("the launcher to go on", lambda: black_hole.close_all() or held_up.done())
        held_up.result()
    assert {world.states()[run_id] for run_id in GOOD} == {RunState.RUNNING}
    assert {world.find(run_id).setback for run_id in HELD_UP[:-1]} == {Reason.CLUSTER_UNREACHABLE}
    assert world.find_cluster("hole").failures == 1
    assert not world.find_cluster("good").failures


def test_the_next_launcher_sends_no_request_to_an_unresponsive_cluster(
    world: ExecutionWorld, launcher: Launcher, black_hole: BlackHole, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_S", 0.5)
    launcher.launch("hole", HELD_UP[:-1])
    while black_hole.takes_another():
        pass
    launcher.launch("hole", HELD_UP[-1:])
    assert not black_hole.takes_another()
    run, opens = world.find(HELD_UP[-1]), world.find_cluster("hole").open_until
    assert (run.state, run.launch_at, run.setback) == (RunState.PENDING, opens, Reason.CLUSTER_UNREACHABLE)
    assert not any(r.cluster == "hole" for r in resend_overdue(world.store, clock(), launcher.settings))
