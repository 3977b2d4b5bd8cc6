"""Opening and launching runs on the cluster `there`."""

from collections.abc import Sequence
from datetime import timedelta

from kubeprobe.execution.launch import Launcher
from tests.services.execution.given import ExecutionWorld

RUN = "01hrun00000000000000000000"


def launch(launcher: Launcher, world: ExecutionWorld, *run_ids: str, cluster: str = "there") -> bool:
    """Open these runs, unless they exist, and launch them; returns whether a responder is to be woken."""
    known = world.states()
    if new := [i for i in run_ids or (RUN,) if i not in known]:
        later = world.noon + timedelta(minutes=10)
        world.run(*new, cluster=cluster, expires_at=later, trigger="manual")
    return launcher.launch(cluster, run_ids or (RUN,)).responders == 1


def ids(count: int) -> Sequence[str]:
    """Ids of so many runs."""
    return [f"01hrun{i:020}" for i in range(count)]
