"""The Celery app of launchers and responders: `celery -A workers.app worker ...`.

Beat and Flower have one of their own, without tasks (`beat_schedule`). Tasks are imported when a worker starts.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from celery import Celery, signals
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars, clear_contextvars

from kubeprobe.errors import KubeProbeError
from kubeprobe.logs import configure_logs
from kubeprobe.metrics.listener import serve_metrics
from kubeprobe.queue import REQUEST_QUEUE, celery_config, is_launching
from kubeprobe.settings import Settings
from workers.broker import survive_broker_loss, use_clock

TASKS = ("workers.launching", "workers.responding", "workers.housekeeping")

survive_broker_loss()
app = Celery("kubeprobe", events="workers.events:Events", task_cls="workers.request:StoreTimeTask")
app.process = "worker"  # set once a worker starts
# A function, so that the environment is read when the process starts and not when this is imported.
app.add_defaults(lambda: celery_config(Settings().broker()))


def process_name(queues: Iterable[str] | str | None) -> str:
    """`launcher` or `responder`, by the queues it serves. Without `-Q` it serves requests, as launchers do."""
    served = queues.split(",") if isinstance(queues, str) else list(queues or (REQUEST_QUEUE,))
    return "launcher" if any(is_launching(queue) for queue in served) else "responder"


@signals.celeryd_init.connect
def _import_tasks(options: Mapping[str, Any], **_: Any) -> None:
    """Register the tasks before the worker takes its first message, and its name before it logs."""
    app.process = process_name(options.get("queues"))
    for module in TASKS:
        import_module(module)


@signals.worker_init.connect
def _open_context(**_: Any) -> None:
    """Open store and clusters once, before the first task, in the process that serves it.

    A worker that cannot must exit: Celery only logs what a signal's receiver raises, except SystemExit.
    """
    from workers.context import WorkerContext  # noqa: PLC0415 -- see above

    try:
        app.context = WorkerContext.open(app, Settings(), app.process)
    except (KubeProbeError, SQLAlchemyError) as error:
        raise SystemExit(f"This worker cannot start: {error}") from error
    use_clock(app.context.installation.clock)
    serve_metrics(app.context.installation.settings, app.process)


@signals.worker_shutdown.connect
def _close_context(**_: Any) -> None:
    app.context.close()


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(Settings().log_format, process=app.process)


@signals.task_prerun.connect
def _bind_task(task_id: str, task: Any, **_: Any) -> None:
    """Bind the task to the lines that it logs. A thread serves one task after the other: nothing of the last stays."""
    clear_contextvars()
    bind_contextvars(task=task.name, task_id=task_id)


@signals.task_postrun.connect
def _unbind_task(**_: Any) -> None:
    clear_contextvars()
