"""The Celery app that beat, launchers, responders and Flower share: `celery -A workers.app ...`.

Tasks and what they work with are imported by workers only: beat and Flower start in half the time without.
"""

from importlib import import_module
from typing import Any

from celery import Celery, signals

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
    """Open store and clusters once, before the first task, in the process that serves it."""
    from workers.parts import Parts  # noqa: PLC0415 -- see above

    app.parts = Parts.open(app, Settings())


@signals.worker_shutdown.connect
def _close_parts(**_: Any) -> None:
    app.parts.close()


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(Settings().log_format)
