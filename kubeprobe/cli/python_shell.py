"""`kubeprobe shell`: IPython with KubeProbe's functions imported."""

from typing import Any

from celery import Celery, Signature

import kubeprobe
from kubeprobe import shell
from kubeprobe.errors import extra
from kubeprobe.queue import Task, celery_config
from kubeprobe.settings import Settings
from kubeprobe.store.engine import describe_address
from kubeprobe.store.migrate import open_migrated_store

BANNER = """KubeProbe {version}, store {store}

  run("pod-lifecycle", cluster="prod-1").wait()    run a case now and wait; also clusters=[...], selector="region=eu"
  change("coredns", "1.12", clusters=["prod-1"])   record a change: what is bound to it runs
  runs(), outcomes(case=..., cluster=...)          the newest runs; those that have ended
  cluster("prod-1"), api("prod-1")                 a cluster; its official client, for kubernetes.client.CoreV1Api(...)
  run_probe.delay("pod-lifecycle", "prod-1")       the same run as a plain Celery task
  settings, kubeprobe                              the settings in use, and the package
"""


def open_shell(settings: Settings) -> None:
    """Open it; returns at its exit."""
    with extra("shell", "kubeprobe shell"):
        from IPython import start_ipython  # noqa: PLC0415 - half a second, needed here only
        from traitlets.config import Config  # noqa: PLC0415

    open_migrated_store(settings.database(), settings.statement_timeout).close()
    config, address = Config(), describe_address(settings.database())
    config.TerminalInteractiveShell.banner1 = BANNER.format(version=kubeprobe.__version__, store=address)
    config.TerminalInteractiveShell.enable_tip = False
    config.TerminalIPythonApp.display_banner = True
    start_ipython(argv=[], user_ns=names(settings), config=config)


def names(settings: Settings) -> dict[str, Any]:
    """The names in the shell."""
    return {
        "kubeprobe": kubeprobe,
        "run": shell.run,
        "change": shell.change,
        "runs": shell.runs,
        "outcomes": shell.outcomes,
        "cluster": shell.cluster,
        "api": shell.api,
        "settings": settings,
        "run_probe": run_probe_task(settings),
    }


def run_probe_task(settings: Settings) -> Signature:
    """The Celery task by its name: nothing in kubeprobe imports workers."""
    app = Celery("kubeprobe", set_as_current=False)
    app.conf.update(celery_config(settings.broker()))
    return app.signature(str(Task.RUN_PROBE))
