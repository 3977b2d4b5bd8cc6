"""`kubeprobe up`: starts everything on one machine, and leaves no process when it stops."""

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from kubeprobe.up.ports import USUAL
from tests.harness.wait import until

KUBEPROBE = str(Path(sys.executable).parent / "kubeprobe")
Start = Callable[[], "Up"]


class Up:
    """A `kubeprobe up` in a folder, and its output."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "up.out"
        self._printed_before = self._output.stat().st_size if self._output.exists() else 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KUBEPROBE_")}
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [KUBEPROBE, "up"], cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def printed(self) -> str:
        return self._output.read_bytes()[self._printed_before :].decode()

    def verdicts(self) -> list[str]:
        return [line for line in self.printed().splitlines() if "pod-lifecycle" in line and ":" in line[:3]]

    def stop(self) -> int:
        """Send SIGINT, as Ctrl-C in a terminal does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[Up] = []

    def begin() -> Up:
        begun.append(Up(tmp_path))
        return begun[-1]

    yield begin
    for up in begun:
        up.stop()


def test_ctrl_c_stops_all_processes_and_the_next_start_continues_with_the_same_data(start: Start) -> None:
    first = start()
    until("first verdict", first.verdicts, within_s=90, instead=first.printed)
    assert " pass " in first.verdicts()[0], first.printed()
    family = psutil.Process(first.process.pid).children(recursive=True)
    assert len(family) >= 7

    assert first.stop() == 0
    until("all its processes have ended", lambda: not [p for p in family if is_alive(p)])

    second = start()
    until("first verdict after the restart", second.verdicts, within_s=90, instead=second.printed)
    runs = subprocess.run([KUBEPROBE, "runs"], cwd=second._output.parent, capture_output=True, text=True, check=True)
    assert first.verdicts()[0].split()[-1] in runs.stdout  # its history is still there


def test_ctrl_c_before_all_processes_have_started_stops_all(start: Start, tmp_path: Path) -> None:
    log = tmp_path / ".kubeprobe" / "logs" / "system.log"
    up = start()
    until("a process has started", lambda: log.exists() and "started" in log.read_text(), within_s=120, every_s=0.01)
    family = psutil.Process(up.process.pid).children(recursive=True)
    assert up.stop() == 0
    assert "Stopped." in up.printed()
    until("all its processes have ended", lambda: not [p for p in family if is_alive(p)])


def test_second_start_in_the_same_folder_is_refused_with_advice(start: Start) -> None:
    first = start()
    until("first installation is up", lambda: "Flower" in first.printed(), within_s=120)
    second = start()
    assert second.process.wait(timeout=60) == 2
    assert "Stop it, or set another folder" in second.printed()


def test_free_ports_are_used_when_the_usual_ones_are_taken(start: Start) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _LISTENER, *map(str, USUAL.values())], stdout=subprocess.PIPE, text=True
    ) as taker:
        assert taker.stdout is not None
        assert taker.stdout.readline() == "listening\n"
        try:
            up = start()
            until("addresses are printed", lambda: "Flower" in up.printed(), within_s=120)
            assert f":{USUAL['flower']}\n" not in up.printed()
        finally:
            taker.kill()


def test_other_users_of_the_machine_can_neither_publish_tasks_nor_read_files(start: Start, tmp_path: Path) -> None:
    data = tmp_path / ".kubeprobe"
    data.mkdir(mode=0o755)
    (data / "up.lock").touch()  # as an older version left it
    up = start()
    until("first verdict", up.verdicts, within_s=90, instead=up.printed)
    url = urlsplit((data / "broker.url").read_text())
    assert url.password
    assert redis.Redis(port=url.port or 0, password=url.password).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=url.port or 0).lpush("launch.default", "{}")
    assert url.password not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "localcluster" / "pods").stat().st_mode) == 0o700
    private = {
        "kubeprobe.db",
        "kubeprobe.db-wal",
        "secret.key",
        "broker.conf",
        "logs/launcher.log",
        "localcluster/token",
    }
    assert {stat.S_IMODE((data / name).stat().st_mode) for name in private} == {0o600}
    flower = f"http://127.0.0.1:{json.loads((data / 'ports.json').read_text())['flower']}"
    until(
        "Flower refuses a task",
        lambda: status_of(f"{flower}/api/task/send-task/kubeprobe.run_probe") == 401,
        within_s=60,
    )


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: one that has ended may wait for a slow init to collect its exit code."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def status_of(url: str) -> int | None:
    """The HTTP status of a POST; None without an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


_LISTENER = """
import socket, sys, time
taken = []
for port in sys.argv[1:]:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier test may linger
    try:
        listener.bind(("127.0.0.1", int(port)))
        listener.listen()
    except OSError:
        pass  # already taken by another process, which serves as well
    taken.append(listener)
print("listening", flush=True)
time.sleep(600)
"""
