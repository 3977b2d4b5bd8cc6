"""The checks of node-health, with simulated nodes and on the machine of the tests."""

import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from probes._access import Access
from probes._api import Api
from probes.node_health import agents, clock, disks, kernel_log, limits
from probes.node_health.finding import Findings
from probes.node_health.kernel_patterns import Pattern
from tests.probes.raw import raw_server
from tests.probes.scripted import scripted_api

PERCENT = limits.Percentages(conntrack=100, pids=80, files=80, inotify=90)


def proc(tmp_path: Path, *, threads: int = 100, files: str = "10 0 1000", instances: int = 1) -> Path:
    """A /proc with one process that uses inotify."""
    values = {
        "loadavg": f"0.1 0.1 0.1 1/{threads} 99",
        "sys/kernel/pid_max": "1000",
        "sys/kernel/threads-max": "2000",
        "sys/fs/file-nr": files,
        "sys/fs/inotify/max_user_instances": "10",
        "sys/fs/inotify/max_user_watches": "100",
        "7/status": "Name:\tjournal\nUid:\t5\t5\t5\t5\n",
        **{f"7/fdinfo/{number}": "inotify wd:1 ino:1\ninotify wd:2 ino:2\n" for number in range(instances)},
    }
    for name, text in values.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "7/fd").mkdir()
    for number in range(instances):
        (tmp_path / "7/fd" / str(number)).symlink_to("anon_inode:inotify")
    (tmp_path / "7/fd/99").symlink_to("/dev/null")
    return tmp_path


def test_a_healthy_node_has_no_problems(tmp_path: Path) -> None:
    found = limits.check(proc(tmp_path), PERCENT)
    assert (found.problems, found.unchecked) == ([], [])
    measured = {name: value for name, value in found.measured.items() if not name.startswith("conntrack")}
    assert measured == {
        "pids_percent": 10.0,
        "files_percent": 1.0,
        "inotify_instances_percent": 10.0,
        "inotify_watches_percent": 2.0,
        "processes_hidden": 0,
    }


def test_a_nearly_full_resource_is_named_with_its_use(tmp_path: Path) -> None:
    found = limits.check(proc(tmp_path, threads=900, files="990 0 1000", instances=9), PERCENT)
    assert found.problems == [
        "processes and threads (pid_max, threads-max): 90.0 % used, 900 of 1,000 (the limit here is 80 %)",
        "open files (fs.file-max): 99.0 % used, 990 of 1,000 (the limit here is 80 %)",
        "inotify instances of user 5 (most by journal[7]: 9): 90.0 % used, 9 of 10 (the limit here is 90 %)",
    ]


def test_unreadable_files_are_not_a_finding(tmp_path: Path) -> None:
    found = limits.check(tmp_path, PERCENT)
    assert found.problems == []
    assert [why.partition(":")[0] for why in found.unchecked] == ["processes", "open files", "inotify"]


def test_a_file_system_is_checked_once_and_a_missing_path_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = disks.check(tmp_path, ["/", "/a", "/nowhere"], 101, 101)
    assert (found.problems, found.measured["file_systems"]) == ([], 1)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    [wrong] = disks.check(tmp_path, ["/"], 0, 101).problems
    assert re.match(r"disk space at / in MB: [\d.]+ % used, [\d,]+ of [\d,]+ \(the limit here is 0 %\)", wrong)


@pytest.mark.parametrize(
    ("mount", "looked_at"),
    [
        ("squashfs /dev/loop0 ro,errors=continue", 0),
        ("erofs /dev/dm-0 ro,user_xattr", 0),
        ("iso9660 /dev/sr0 ro,nojoliet", 0),
        ("overlay composefs ro,lowerdir+=/run/cfs,datadir+=/sysroot/ostree/repo/objects,redirect_dir=on", 0),
        ("overlay overlay rw,lowerdir=/lower,upperdir=/upper,workdir=/work", 1),
        ("ext4 /dev/sda1 ro", 1),
    ],
)
def test_image_file_systems_are_not_checked(tmp_path: Path, mount: str, looked_at: int) -> None:
    device = tmp_path.stat().st_dev
    mountinfo = tmp_path / "proc/1/mountinfo"
    mountinfo.parent.mkdir(parents=True)
    mountinfo.write_text(
        "22 27 0:99999 / /proc rw,relatime - proc proc rw\n"
        f"27 1 {os.major(device)}:{os.minor(device)} / / ro,relatime shared:1 - {mount}\n"
    )
    found = disks.check(tmp_path, ["/"], 0, 0)
    assert found.measured["file_systems"] == looked_at
    assert bool(found.problems) == bool(looked_at)


def test_a_kernel_log_record_is_parsed_without_its_details() -> None:
    found = kernel_log.parse("4,1044,7301234567,-;table full; dropping\n SUBSYSTEM=net\n")
    assert found == kernel_log.Message(7301.234567, "table full; dropping")


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="the kernel's log cannot be read here")
def test_only_recent_messages_count() -> None:
    anything = Pattern("said", re.compile(""))
    whole = kernel_log.check(Path("/dev/kmsg"), 1e9, [anything])
    assert whole.measured["kernel_messages"] > 0
    assert any(wrong.startswith("kernel log: said") for wrong in whole.problems)
    # An hour from now: a message logged right now may have a time slightly ahead of ours.
    assert kernel_log.check(Path("/dev/kmsg"), -3600, [anything]).problems == []


def test_a_kernel_log_that_cannot_be_read_is_not_a_finding(tmp_path: Path) -> None:
    assert kernel_log.check(tmp_path / "kmsg", 60, []).unchecked == [
        f"kernel log {tmp_path}/kmsg: No such file or directory"
    ]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may respond late."""
    monkeypatch.setattr(clock, "RESPONSE_TIMEOUT", 60)


def ntp_server(offset: float) -> socket.socket:
    """Answers one request as a server whose clock differs by `offset`."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer() -> None:
        _question, asker = server.recvfrom(128)
        now = time.time() + offset + 2_208_988_800
        stamp = struct.pack(">II", int(now), int(now % 1 * 2**32))
        server.sendto(b"\x24\x02" + 30 * b"\0" + stamp + stamp, asker)

    threading.Thread(target=answer, daemon=True).start()
    return server


def test_an_offset_by_ntp_is_measured_to_the_millisecond() -> None:
    with ntp_server(-5) as server:
        began = time.monotonic()
        found = clock._by_ntp(f"127.0.0.1:{server.getsockname()[1]}")
        duration = time.monotonic() - began
    assert abs(found.seconds - 5) <= found.uncertainty + 0.01
    assert found.uncertainty <= duration / 2 + 0.001


@pytest.mark.parametrize(
    ("date", "problem"),
    [(b"Date: soon", "expected a time, got 'soon'"), (b"Server: a", "expected a time, got ''")],
)
def test_a_server_without_a_valid_date_is_not_a_finding(date: bytes, problem: str) -> None:
    with raw_server(lambda _request: b"HTTP/1.1 200 OK\r\n" + date + b"\r\n\r\n") as port:
        found = clock.check(Access(""), f"http://127.0.0.1:{port}/", [], 2)
    assert found.problems == []
    assert found.unchecked == [f"clock: the Date header of http://127.0.0.1:{port}: {problem}"]


def test_the_date_of_the_final_response_counts() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
    date = format_datetime(datetime.now(UTC), usegmt=True).encode()
    with raw_server(lambda _request: hints + b"HTTP/1.1 204 No Content\r\nDate: " + date + b"\r\n\r\n") as port:
        found = clock.check(Access(""), f"http://127.0.0.1:{port}/", [], 3600)
    assert (found.problems, found.unchecked) == ([], [])


def test_a_server_of_time_that_does_not_answer_is_not_a_finding() -> None:
    found = clock.check(Access("http://127.0.0.1:1"), "", ["127.0.0.1:1"], 2)
    assert found.problems == []
    assert [why.split(":")[1].strip() for why in found.unchecked] == [
        "the Date header of http",
        "NTP server 127.0.0.1",
    ]


def test_pods_stuck_in_termination_are_named() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def pod(**metadata: object) -> dict[str, object]:
        return {"metadata": {"name": "web", "namespace": "shop", **metadata}}

    late = (now - timedelta(seconds=400)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert agents._stuck(pod(deletionTimestamp=late), now, 300).startswith(
        "pod shop/web should have ended 400 s ago: the kubelet"
    )
    assert agents._stuck(pod(deletionTimestamp=late), now, 600) == ""
    assert agents._stuck(pod(deletionTimestamp=late, finalizers=["x"]), now, 300) == ""
    assert agents._stuck(pod(), now, 300) == ""


def problems_of(**conditions: str) -> list[str]:
    """The problems of a node with these conditions and a renewed lease."""
    node = {"status": {"conditions": [{"type": name, "status": status} for name, status in conditions.items()]}}
    lease = {"spec": {"renewTime": datetime.now(UTC).isoformat()}}
    answers = ((200, node), (200, lease), (200, {"items": [], "metadata": {}}))
    with scripted_api(*answers) as server, Api(Access(f"http://127.0.0.1:{server.server_port}")) as api:
        return agents.api_state(api, "a", 40, 300).problems


def test_good_conditions_of_a_node_are_not_a_finding() -> None:
    of_the_kubelet = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False"}
    of_others = {
        "KernelReady": "True",
        "ContainerRuntimeReady": "True",
        "EtcdIsVoter": "True",
        "KernelDeadlock": "False",
    }
    assert problems_of(**of_the_kubelet, **of_others) == []


def test_bad_conditions_are_reported() -> None:
    wrong = problems_of(Ready="Unknown", StorageReady="False", EtcdIsVoter="False", DiskPressure="True")
    assert [why.removesuffix(": : ") for why in wrong] == [
        "node a: Ready is Unknown",
        "node a: StorageReady is False",
        "node a: EtcdIsVoter is False",
        "node a: DiskPressure is True",
    ]


def test_a_kubelet_that_is_missing_is_reported() -> None:
    [wrong] = agents.kubelet("http://127.0.0.1:1/healthz").problems
    assert wrong.startswith("kubelet: no response at http://127.0.0.1:1/healthz: ")


def test_a_runtime_that_is_missing_is_reported(tmp_path: Path) -> None:
    [wrong] = agents.runtime(tmp_path, "/none.sock").problems
    assert wrong.startswith(f"container runtime at {tmp_path}/none.sock: Status: ")


def test_a_runtime_at_an_unknown_socket_is_not_a_finding(tmp_path: Path) -> None:
    found = agents.runtime(tmp_path, "")
    assert found.problems == []
    [why] = found.unchecked
    assert why.startswith("container runtime: no socket found at ")


def test_a_probe_without_its_node_name_is_unknown() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "probes.node_health.probe"], capture_output=True, text=True, check=False
    )
    assert done.returncode not in {0, 1}
    assert "KUBEPROBE_NODE is not set" in done.stdout + done.stderr


def test_a_mount_that_cannot_be_parsed_hides_no_other(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    mountinfo = tmp_path / "proc/1/mountinfo"
    mountinfo.parent.mkdir(parents=True)
    image = f"27 1 {os.major(device)}:{os.minor(device)} / / ro - squashfs /dev/loop0 ro"
    mountinfo.write_text(f"nonsense\n\n1 2 x / / - erofs\n{image}\n")
    assert disks.check(tmp_path, ["/"], 0, 0).measured["file_systems"] == 0


def test_a_process_that_ends_while_it_is_read_hides_no_other(tmp_path: Path) -> None:
    node = proc(tmp_path)
    (node / "8/fd").mkdir(parents=True)
    (node / "8/fd/1").symlink_to("anon_inode:inotify")
    (node / "8/status").write_text("")
    found = limits.check(node, PERCENT)
    assert (found.unchecked, found.measured["inotify_instances_percent"]) == ([], 10.0)


def test_findings_of_several_checks_are_merged() -> None:
    together = Findings(problems=["a"], measured={"x": 1})
    together.add(Findings(problems=["b"], unchecked=["c"], measured={"y": 2}))
    assert together == Findings(["a", "b"], ["c"], {"x": 1, "y": 2})
