"""One installation per data directory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeprobe.errors import KubeProbeError


class AlreadyUpError(KubeProbeError):
    """Another `kubeprobe up` uses the data directory."""


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; the kernel lets go of it when this process ends, however it ends."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUpError(
                f"KubeProbe is up already in {data_dir}. Stop it first, or give another folder (KUBEPROBE_DATA_DIR)."
            ) from None
        yield
