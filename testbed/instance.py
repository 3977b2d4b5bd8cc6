"""The name of a test bed, and its paths. Used by every other module.

One machine can run several test beds: each has its own network namespace (so that addresses may be the same in
all of them), directories and cgroups, all derived from its name.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEFAULT_NAME = "kubeprobe"
NAME_VARIABLE = "KUBEPROBE_TESTBED_NAME"

NODE_NAME = "node"
NODE_ADDRESS = "10.200.0.1"
POD_CIDR = "10.244.0.0/16"
POD_SUBNET = "10.244.0.0/22"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443


class TestbedError(Exception):
    """Something that the test bed needs is missing or failed; the message says what to do."""

    __test__ = False  # not a test class, despite its name


@dataclass(frozen=True)
class Instance:
    """One test bed's name, and every path and name derived from it."""

    name: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        """Check the name: it must be short enough for a socket's path and a network's name."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise TestbedError(
                f"{self.name!r} is an invalid test bed name: expected 1 to 20 of a-z, 0-9 and '-' "
                f"(from --name or {NAME_VARIABLE})"
            )

    @classmethod
    def named(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The instance named by the environment, by default `kubeprobe`."""
        return cls(environ.get(NAME_VARIABLE, DEFAULT_NAME))

    @property
    def state(self) -> Path:
        """Persistent state: cluster data, imported images, logs."""
        return Path("/var/lib/kubeprobe-testbed") / self.name

    @property
    def cluster(self) -> Path:
        """Data of the current cluster; `down` removes it."""
        return self.state / "cluster"

    @property
    def containerd_root(self) -> Path:
        """The data of containerd, with the imported images; kept by `down`."""
        return self.state / "containerd"

    @property
    def logs(self) -> Path:
        """One log per component; kept by `down`, emptied by the next cluster."""
        return self.state / "logs"

    @property
    def run(self) -> Path:
        """Sockets and process ids."""
        return Path("/run/kubeprobe-testbed") / self.name

    @property
    def containerd_socket(self) -> Path:
        """The socket of containerd."""
        return self.run / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "admin.kubeconfig"

    @property
    def netns(self) -> Path:
        """The network namespace's file."""
        return Path("/run/netns") / self.netns_name

    @property
    def netns_name(self) -> str:
        """The network namespace's name, for `ip netns`."""
        return f"testbed-{self.name}"

    @property
    def cgroup(self) -> str:
        """The cgroup, below each hierarchy's root, that holds everything this test bed started."""
        return f"kubeprobe-testbed-{self.name}"

    def in_namespace(self, command: list[str]) -> list[str]:
        """Return the command that runs `command` inside the network namespace.

        Not `ip netns exec`: that remounts /sys and hides the cgroups from the kubelet.
        """
        return ["nsenter", f"--net={self.netns}", "--", *command]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Serialize `up`, `down` and `images` of this instance."""
        with file_lock(self.run.parent / f"{self.name}.lock"):
            yield


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of build results, outside the repository, so that a new clone finds them."""
    if chosen := environ.get("KUBEPROBE_CACHE"):
        return Path(chosen)
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kubeprobe"


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel releases it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
