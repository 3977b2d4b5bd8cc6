"""The faults that node-health must detect, on the real node."""

import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testbed.instance import NODE_ADDRESS, NODE_NAME
from tests.harness.wait import until
from tests.probes.scenario import Bed, Fault

BESIDE = {"HOST_ROOT": "/", "KUBEPROBE_NODE": NODE_NAME}
"""For a probe that runs as a process of the node: it has no mount and no downward API."""
UNUSED_USER = 61_234
"""A user id that is otherwise unused on the machine."""

# Takes all inotify instances of its user, reports that, and keeps them until its input ends.
HOARDER = """
import ctypes, os, sys
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
libc = ctypes.CDLL(None)
while libc.inotify_init1(0) >= 0:
    pass
print("full", flush=True)
sys.stdin.read()
"""


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """The test bed's runtime has another socket; earlier kernel messages of the machine are ignored."""
    socket = str(bed.testbed.instance.containerd_socket)
    # Other test beds share this machine's limits, so only a use of 100 % is a finding.
    yield {"RUNTIME_SOCKET": socket, "KERNEL_LOG_MINUTES": "0.5", "INOTIFY_PERCENT": "99"}


@contextmanager
def tmpfs(bed: Bed, options: str) -> Iterator[Path]:
    """A small file system of the node's."""
    here = bed.tmp / f"tmpfs-{secrets.token_hex(4)}"
    here.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(here)], check=True)
    try:
        yield here
    finally:
        subprocess.run(["umount", "--lazy", str(here)], check=True)
        here.rmdir()


@contextmanager
def disk_full(bed: Bed) -> Iterator[dict[str, str]]:
    """A full file system."""
    with tmpfs(bed, "size=1m") as here:
        with suppress(OSError):
            (here / "log").write_bytes(b"x" * 2_000_000)
        yield {"PATHS": str(here)}


@contextmanager
def inodes_used_up(bed: Bed) -> Iterator[dict[str, str]]:
    """A file system with free space, but without free inodes."""
    with tmpfs(bed, "size=1m,nr_inodes=40") as here:
        for number in range(39):
            (here / str(number)).touch()
        yield {"PATHS": str(here)}


@contextmanager
def inotify_used_up(_bed: Bed) -> Iterator[None]:
    """A user who cannot watch files any more."""
    command = [sys.executable, "-c", HOARDER, str(UNUSED_USER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hoarder:
        assert hoarder.stdin is not None
        assert hoarder.stdout is not None
        assert hoarder.stdout.readline() == b"full\n"
        try:
            yield
        finally:
            hoarder.stdin.close()


@contextmanager
def kernel_message(_bed: Bed) -> Iterator[dict[str, str]]:
    """A message that only this run's own pattern matches, as a kernel's log cannot be cleared."""
    which = f"test_conntrack_{secrets.token_hex(4)}"
    Path("/dev/kmsg").write_text(f"<4>{which}: table full, dropping packet\n")
    yield {"KERNEL_PATTERNS": f"nothing like this\n{which}: table full"}


class _SlowClock(BaseHTTPRequestHandler):
    """A web server whose clock is an hour slow."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header."""
        return format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)

    def do_GET(self) -> None:
        """Answer with headers only."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def clock_off(_bed: Bed) -> Iterator[dict[str, str]]:
    """The node's clock differs from another one by an hour; the other one is wrong, as the machine's is shared."""
    server = ThreadingHTTPServer((NODE_ADDRESS, 0), _SlowClock)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {"CLOCK_URL": f"http://{NODE_ADDRESS}:{server.server_port}/"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def kubelet_down(bed: Bed) -> Iterator[None]:
    """No kubelet at all."""
    bed.testbed.stop("kubelet")
    try:
        yield
    finally:
        bed.testbed.start("kubelet")


@contextmanager
def kubelet_hangs(bed: Bed) -> Iterator[dict[str, str]]:
    """The kubelet hangs, which its lease shows."""
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE_NAME}"

    def age() -> float:
        renewed = datetime.fromisoformat(bed.api.get(lease)["spec"]["renewTime"])
        return (datetime.now(UTC) - renewed).total_seconds()

    bed.testbed.pause("kubelet")
    try:
        until("the lease to be stale", lambda: age() > 13, 60)
        yield {"LEASE_AGE": "12"}
    finally:
        bed.testbed.resume("kubelet")
        until("the lease to be renewed", lambda: age() < 5, 60)


@contextmanager
def runtime_hangs(bed: Bed) -> Iterator[None]:
    """The container runtime accepts connections and answers nothing."""
    bed.testbed.pause("containerd")
    try:
        yield
    finally:
        bed.testbed.resume("containerd")


@contextmanager
def runtime_down(bed: Bed) -> Iterator[None]:
    """No container runtime."""
    bed.testbed.stop("containerd")
    try:
        yield
    finally:
        bed.testbed.start("containerd")
        bed.kubectl("wait", f"node/{NODE_NAME}", "--for=condition=Ready", "--timeout=60s")


@contextmanager
def node_under_pressure(bed: Bed) -> Iterator[None]:
    """A condition that something like node-problem-detector would set."""
    condition = {"type": "TestDiskBroken", "status": "True", "reason": "IOErrors", "message": "sda is failing"}
    _set_condition(bed, condition)
    try:
        yield
    finally:
        _set_condition(bed, {**condition, "status": "False"})


def _set_condition(bed: Bed, condition: dict[str, str]) -> None:
    path = f"/api/v1/nodes/{NODE_NAME}/status"
    node = bed.api.get(path)
    others = [one for one in node["status"]["conditions"] if one["type"] != condition["type"]]
    node["status"]["conditions"] = [*others, condition]
    bed.api.replace(path, node)


FAULTS = [
    Fault("a disk is full", disk_full, says=r"^disk space at .*/tmpfs-\w+ in MB: 100\.0 % used"),
    Fault("inodes are used up", inodes_used_up, says=r"^inodes at .*/tmpfs-\w+: 100\.0 % used, 40 of 40"),
    Fault(
        "a user has no inotify instance left",
        inotify_used_up,
        says=rf"^inotify instances of user {UNUSED_USER} \(most by python\S*\[\d+\]: \d+\): 100\.0 % used",
    ),
    Fault(
        "the kernel's log reports an error",
        kernel_message,
        says=r"^kernel log: matches 'test_conntrack_\w+: table full': test_conntrack_\w+: table full, dropping packet$",
    ),
    Fault(
        "the clock is off",
        clock_off,
        says=rf"^clock: this node's is 3(599|600)\.\d s \(± 0\.5\) ahead of the Date header of http://{NODE_ADDRESS}:\d+",
    ),
    Fault("a condition of the node is bad", node_under_pressure, says=r"^node node: TestDiskBroken is True: IOErrors"),
    Fault(
        "the kubelet is down",
        kubelet_down,
        says=r"^kubelet: no response at http://127\.0\.0\.1:10248/healthz: .*refused",
        parameters=BESIDE,
        runs_as="process",
    ),
    Fault(
        "the kubelet hangs",
        kubelet_hangs,
        says=r"^kubelet: it has not renewed the lease of node node for 1\d s \(12 s are allowed\)",
        parameters=BESIDE,
        runs_as="process",
    ),
    Fault(
        "the container runtime hangs",
        runtime_hangs,
        says=r"^container runtime at \S+/containerd\.sock: no answer to Status within 5 s",
        parameters=BESIDE,
        runs_as="process",
    ),
    Fault(
        "the container runtime is down",
        runtime_down,
        says=r"^container runtime at \S+/containerd\.sock: Status: .*(refused|No such file)",
        parameters=BESIDE,
        runs_as="process",
    ),
]
