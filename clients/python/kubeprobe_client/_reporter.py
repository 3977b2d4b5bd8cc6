"""Collects a probe's steps, measurements and errors, and writes its single report at the end.

One process is one run, so there is one `Reporter`, and the functions that a probe calls are its methods.
`_main` runs a probe's function and reports its result.
"""

from __future__ import annotations

import contextlib
import linecache
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from traceback import walk_tb
from types import TracebackType
from typing import NoReturn

from kubeprobe_client._report import Report, Step, encode_unknown

EXIT_OK, EXIT_FAILED, EXIT_GAVE_UP, EXIT_KILLED = 0, 1, 2, 143


class CheckFailed(Exception):  # noqa: N818
    """The check failed: the target is broken. Each argument is an error of the report, unchanged."""


class OutOfTime(BaseException):
    """The run's time is up.

    Not a TimeoutError: that is an OSError, which HTTP clients and retry loops catch.
    """


@dataclass
class _OpenStep:
    name: str
    started: float
    ms: float | None = None  # None: still open
    ok: bool = True

    def as_step(self, now: float, *, ok_if_open: bool) -> Step:
        if self.ms is None:
            return Step(self.name, (now - self.started) * 1000, ok_if_open)
        return Step(self.name, self.ms, self.ok)


class Reporter:
    """The result of a run so far. Safe to use from several threads; the first report is final."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entered when a signal handler reports
        self._steps: list[_OpenStep] = []
        self._metrics: dict[str, float] = {}
        self._errors: list[str] = []
        self._recorded: BaseException | None = None  # the exception whose error is recorded already
        self._current: ContextVar[_OpenStep | None] = ContextVar("kubeprobe_step", default=None)
        self.exit_code: int | None = None
        """The exit code of the process; None until reported (or killed)."""
        self.delivering = False
        """Whether the report is being written, which must not be interrupted."""
        self.wake_main_thread: Callable[[], None] | None = None
        """Set by `main()`: ends the main thread after another thread has reported."""

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a part of the probe.

        If it raises, the step is recorded as failed and its exception becomes an error with the step's name.
        Steps may be nested; the error has the innermost one's name.
        """
        current = _OpenStep(str(name), time.perf_counter())
        with self._lock:
            self._steps.append(current)
        token = self._current.set(current)
        try:
            yield
        except BaseException as error:
            current.ok = isinstance(error, SystemExit) and error.code in (None, EXIT_OK)
            if isinstance(error, (Exception, OutOfTime)):
                self.record(error, step=current.name)
            raise
        finally:
            current.ms = (time.perf_counter() - current.started) * 1000
            self._current.reset(token)

    def measure(self, name: str, value: float) -> None:
        """Record a finite number, for charts. The last value of a name counts."""
        number = int(value) if isinstance(value, int) else float(value)
        if not math.isfinite(number):
            raise ValueError(f"measure({name!r}, {value!r}): expected a finite number")
        with self._lock:
            self._metrics[str(name)] = number

    def record(self, error: BaseException, step: str = "", own_file: str = "") -> None:
        """Add an exception to the errors; only once, even if it passes through several steps."""
        with self._lock:
            if error is not self._recorded:
                self._recorded = error
                self._errors += describe(error, step, own_file)

    def step_in_progress(self) -> str:
        """The name of this thread's current step, else of another thread's, else an empty text."""
        current = self._current.get()
        if current is not None:
            return current.name
        return next((step.name for step in reversed(self._steps) if step.ms is None), "")

    @property
    def failed(self) -> bool:
        """Whether an error has been recorded."""
        return bool(self._errors)

    def report_success(self) -> NoReturn:
        """Report success and exit with 0.

        A failed step whose exception the probe handled stays in the list of steps.
        """
        self._end(first=self.write(ok=True))

    def report_failure(self, errors: Iterable[str] = ()) -> NoReturn:
        """Report why the target is broken and exit with 1.

        Errors of failed steps follow after `errors`.
        """
        self._end(first=self.write(ok=False, errors=[errors] if isinstance(errors, str) else errors))

    def give_up(self, reason: str) -> NoReturn:
        """Report that the probe could not check the target (a permission is missing, say), and exit with 2.

        The verdict is unknown, with this reason: neither a pass nor a failure.
        """
        reason = str(reason).strip() or "the probe gave up without a reason"
        self._end(first=self._deliver(EXIT_GAVE_UP, lambda: (encode_unknown(reason), f"UNKNOWN: {reason}")))

    def killed(self) -> None:
        """Suppress every later report: the probe was killed before it had a result."""
        if self.exit_code is None:  # no lock: called by a signal handler, which must not wait
            self.exit_code = EXIT_KILLED

    def write(self, *, ok: bool, errors: Iterable[str] = ()) -> bool:
        """Write the report; returns False if the run has already been reported (or killed)."""

        def report() -> tuple[bytes, str]:
            now = time.perf_counter()
            report = Report(
                ok,
                () if ok else self._all_errors(errors),
                tuple(step.as_step(now, ok_if_open=ok) for step in self._steps),
                dict(self._metrics),
            )
            return report.encode(), _summary(report)

        return self._deliver(EXIT_OK if ok else EXIT_FAILED, report)

    def _deliver(self, exit_code: int, report: Callable[[], tuple[bytes, str]]) -> bool:
        with self._lock:
            if self.exit_code is not None:
                return False
            self.delivering = True
            try:
                self.exit_code = exit_code
                _publish(*report())
            finally:
                self.delivering = False
            return True

    def _all_errors(self, errors: Iterable[str]) -> tuple[str, ...]:
        texts = [str(error).strip() for error in errors] + self._errors
        unique = tuple(dict.fromkeys(text for text in texts if text))
        return unique or ("the probe reported a failure without a reason",)

    def _end(self, *, first: bool) -> NoReturn:
        """End the process; from another thread through the main thread, unless that is ending already."""
        if threading.current_thread() is not threading.main_thread():
            if self.wake_main_thread is None:
                leave_now(self.exit_code)
            if first:
                self.wake_main_thread()
        raise SystemExit(self.exit_code)


def describe(error: BaseException, step: str = "", own_file: str = "") -> list[str]:
    """The error texts of an exception: step, type, message, and line in the probe's file."""
    prefix = f"{step}: " if step else ""
    if isinstance(error, CheckFailed) and error.args:
        return [f"{prefix}{text}" for text in error.args]
    if isinstance(error, OutOfTime):
        return [str(error)]
    location, source = _location(error.__traceback__, own_file)
    message = str(error).strip() or source
    return [f"{prefix}{type(error).__name__}{f': {message}' if message else ''}{f' ({location})' if location else ''}"]


def _location(traceback: TracebackType | None, own_file: str) -> tuple[str, str]:
    """The line of the probe's own file that raised the exception (`probe.py:12`), and its source.

    The probe's own file is the one given, else the one that entered the step: the first file in the
    traceback that is not part of this package.
    """
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(traceback)]
    here = os.path.dirname(__file__)  # noqa: PTH120
    frames = [(file, line) for file, line in frames if not file.startswith((here, contextlib.__file__))]
    if not frames:
        return "", ""
    own = [(file, line) for file, line in frames if file == (own_file or frames[0][0])]
    file, line = (own or frames)[-1]
    return f"{os.path.basename(file)}:{line}", linecache.getline(file, line).strip()  # noqa: PTH119


def leave_now(code: int | None) -> NoReturn:
    """End the process at once, without waiting for threads; output is flushed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(EXIT_FAILED if code is None else code)


def _publish(message: bytes, summary: str) -> None:
    """Write the message to the report file, and the summary to the log."""
    path = os.environ.get("KUBEPROBE_REPORT_FILE", "")
    if path:
        try:
            # A single write, so that a reader sees all of it or nothing. The file is a mount, so it cannot be replaced.
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                os.write(file, message)
            finally:
                os.close(file)
        except OSError as error:
            summary += f"\ncannot write the report to KUBEPROBE_REPORT_FILE={path}: {error}"
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a closed stdout must not change the verdict
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(summary.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()


def _summary(report: Report) -> str:
    lines = ["PASS" if report.ok else "FAIL"]
    lines += [f"  error: {error}" for error in report.errors]
    lines += [f"  step:  {step.name} {'ok' if step.ok else 'FAILED'} {step.ms:.1f} ms" for step in report.steps]
    lines += [f"  {name} = {value}" for name, value in report.metrics.items()]
    return "\n".join(lines)


reporter = Reporter()
"""The reporter of this process."""

step = reporter.step
measure = reporter.measure
report_success = reporter.report_success
report_failure = reporter.report_failure
give_up = reporter.give_up
