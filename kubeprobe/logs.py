"""Logs of KubeProbe itself: one line each, for people or as JSON; everything that logs goes through here.

A line carries the name of its process, and what is bound where it is written (`structlog.contextvars`): the Celery
task with its id, the cluster, the run and its attempt. Code that works on one of these binds it; code that it calls
does not repeat it.
"""

import logging
import sys
from io import StringIO
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict

from kubeprobe.escaping import escape, escape_line
from kubeprobe.masking import mask_secrets


class _MaskingFormatter(structlog.stdlib.ProcessorFormatter):
    """Masks credentials in each line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return mask_secrets(super().format(record))


def configure_logs(form: str = "console", level: int = logging.INFO, *, process: str = "cli") -> None:
    """Send structlog and the libraries' logs to standard error, as `console` lines or `json`.

    `process`: launcher, collector, responder, beat, web or cli. Not a context variable: threads start without those.
    """

    def add_process(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=_escaped_traceback,
    )
    escaping: list[structlog.typing.Processor] = [_escape_values]
    if form == "json":
        escaping = []  # JSON escapes by itself
        # Not structlog's own `dict_tracebacks`, which prints local variables too.
        exceptions = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared.append(structlog.processors.ExceptionRenderer(exceptions))
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _MaskingFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *escaping, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # "Task received", once per task
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)  # "Task succeeded", once per task


def _escape_values(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Foreign text cannot control the terminal, nor forge lines. Other values than strings are shown by their repr."""
    return {key: escape_line(value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped_traceback(stream: TextIO, exc_info: Any) -> None:
    """Plain: structlog's fancy one prints local variables, which hold credentials."""
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(escape(text.getvalue()))
