"""The Celery app of launchers and responders: `celery -A workers.app worker ...`.

Beat and Flower have one of their own, without tasks (`beat_schedule`). Tasks are imported when a worker starts.
"""

from importlib import import_module
from typing import Any

from celery import Celery, signals
from sqlalchemy.exc import SQLAlchemyError

from kubeprobe.errors import KubeProbeError
from kubeprobe.logs import configure_logs
from kubeprobe.queue import celery_config
from kubeprobe.settings import Settings
from workers.broker import survive_broker_loss

TASKS = ("workers.launching", "workers.responding", "workers.housekeeping")

survive_broker_loss()
app = Celery("kubeprobe")
# A function, so that the environment is read when the process starts and not when this is imported.
app.add_defaults(lambda: celery_config(Settings().broker()))


@signals.celeryd_init.connect
def _import_tasks(**_: Any) -> None:
    """Have the tasks known before the worker takes its first message."""
    for module in TASKS:
        import_module(module)


@signals.worker_init.connect
def _open_parts(**_: Any) -> None:
    """Open store and clusters once, before the first task, in the process that serves it.

    A worker that cannot has to end: Celery logs what a signal's receiver raises and goes on, but for SystemExit.
    """
    from workers.context import WorkerContext  # noqa: PLC0415 -- see above

    try:
        app.context = WorkerContext.open(app, Settings())
    except (KubeProbeError, SQLAlchemyError) as error:
        raise SystemExit(f"This worker cannot start: {error}") from error


@signals.worker_shutdown.connect
def _close_parts(**_: Any) -> None:
    app.context.close()


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(Settings().log_format)
