"""The lock of a data directory: one `kubeprobe up` at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeprobe.errors import KubeProbeError

LOCK = "up.lock"


class AlreadyUpError(KubeProbeError):
    """Another `kubeprobe up` uses the data directory."""


def is_used(data_dir: Path) -> bool:
    """Whether `kubeprobe up` has used this data directory before."""
    return (data_dir / LOCK).exists()


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Lock the data directory; the kernel releases the lock when this process ends, however it ends."""
    with (data_dir / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUpError(
                f"KubeProbe is already running in {data_dir}. Stop it, or set another folder (KUBEPROBE_DATA_DIR)."
            ) from None
        yield
