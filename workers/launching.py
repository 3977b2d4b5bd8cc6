"""Tasks of launchers: create pods, remove pods, open requested runs."""

from collections.abc import Sequence

from structlog.contextvars import bound_contextvars

from kubeprobe.app import request_runs
from kubeprobe.execution.remove import remove_pods as remove
from kubeprobe.queue import Task
from kubeprobe.trigger import RunRequest
from workers.app import app


@app.task(name=Task.LAUNCH)
def launch(cluster: str, run_ids: Sequence[str]) -> None:
    """Create the pods of these runs of one cluster."""
    with bound_contextvars(cluster=cluster):
        app.context.dispatch(app.context.launcher.launch(cluster, run_ids))


@app.task(name=Task.REMOVE_PODS)
def remove_pods(cluster: str, run_ids: Sequence[str]) -> None:
    """Delete the pods of runs whose outcome was stored before they ended."""
    with bound_contextvars(cluster=cluster):
        remove(app.context.launcher, cluster, run_ids)


@app.task(name=Task.RUN_PROBE, bind=True)
def run_probe(self: object, case: str, cluster: str) -> list[str]:
    """Run a case on a cluster now: `run_probe.delay("pod-lifecycle", "prod-1")`. Returns the ids of its runs.

    The task's own id is the request's: a message that the broker delivers twice runs once. It takes no parameters:
    they would be readable in the broker and in Flower (`kubeprobe run --param` and `run()` of the shell take them).
    """
    request = RunRequest(case, (cluster,), id=self.request.id)  # type: ignore[attr-defined]
    return list(request_runs(app.context.installation, request))
