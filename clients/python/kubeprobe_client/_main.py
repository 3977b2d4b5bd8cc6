"""Runs a probe's function and reports every way in which it can end.

| the function | the report |
|---|---|
| returns, no step failed | ok, exit 0 |
| returns although a step failed | not ok, exit 1, unless the probe calls `report_success()` |
| raises `CheckFailed` | not ok, exit 1, with its texts |
| raises another exception | not ok, exit 1, with type, message, step and line; the traceback is in the log |
| does not return in time | not ok, exit 1, with the step that hangs, and for how long |
| calls `report_success()`, `report_failure()`, `give_up()` | that report; the first one is final |
| calls `sys.exit()` | none; its exit code |
| receives SIGTERM | none, exit 143; `finally` blocks run, so that the probe deletes the objects it created |
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from kubeprobe_client._reporter import EXIT_KILLED, CheckFailed, OutOfTime, Reporter, leave_now, reporter
from kubeprobe_client._run import Run, run

Function = TypeVar("Function", bound=Callable[[], Any])


def main(function: Function) -> Function:
    """Run the probe and exit; a decorator or a call, for plain and `async` functions.

    Shortly before KUBEPROBE_RUN_TIMEOUT expires, the function is interrupted (`OutOfTime`, by SIGALRM in the
    main thread; not on systems without that signal), so that it can clean up and the report names the step that
    hangs. At the top level of an imported module the function is not run, so that tests can import a probe.
    """
    caller = sys._getframe(1)  # noqa: SLF001
    imported = caller.f_code.co_name == "<module>" and caller.f_globals.get("__name__") != "__main__"
    if not imported:
        _run_and_exit(function)
    return function


def _run_and_exit(function: Callable[[], Any]) -> NoReturn:
    own_file = getattr(getattr(function, "__code__", None), "co_filename", "")
    threading.excepthook = _thread_exception_recorder(own_file)
    code: int | str | None
    try:
        code = _call(function, _Watch(reporter, run()), own_file)
    except SystemExit as end:  # raised by a signal while reporting
        code = end.code
    _leave(code if reporter.exit_code is None else reporter.exit_code)


def _call(function: Callable[[], Any], watch: _Watch, own_file: str) -> int | str | None:
    """Call the function and report its result; returns the exit code of its own `sys.exit()`, if any."""
    try:
        try:
            watch.start()
            result = function()
            if isinstance(result, Coroutine):
                import asyncio  # noqa: PLC0415 (takes 50 ms, and most probes do not need it)

                asyncio.run(result)
        finally:
            watch.stop()
    except SystemExit as end:
        return end.code
    except (Exception, OutOfTime) as error:  # noqa: BLE001
        if not isinstance(error, CheckFailed):
            traceback.print_exc()
        reporter.record(error, own_file=own_file)
        reporter.write(ok=False)
    else:
        reporter.write(ok=not reporter.failed)
    return None


def _thread_exception_recorder(own_file: str) -> Callable[[threading.ExceptHookArgs], None]:
    def record_exception(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and args.exc_type is not SystemExit:
            reporter.record(args.exc_value, own_file=own_file)
        threading.__excepthook__(args)

    return record_exception


class _Watch:
    """Ends the probe on signals so that it can clean up: on SIGTERM, and on SIGALRM.

    SIGALRM means that the time is up, or that another thread has reported and the main thread must end.
    """

    def __init__(self, reporter: Reporter, this_run: Run) -> None:
        self._reporter = reporter
        self._run = this_run
        self._out_of_time = time.monotonic() + this_run.remaining()
        self._woken = False
        self._interrupted = False
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._has_signals = in_main_thread and hasattr(signal, "setitimer")

    def start(self) -> None:
        """Install the signal handlers; does nothing outside of the main thread or without SIGALRM."""
        if not self._has_signals:
            return
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGALRM, self._alarm)
        self._reporter.wake_main_thread = self._wake
        self._arm(self._out_of_time - time.monotonic())

    def stop(self) -> None:
        """Cancel the alarm: the probe's function has ended."""
        if self._has_signals:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _arm(self, seconds: float) -> None:
        if seconds < math.inf:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    def _terminated(self, _number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: do not interrupt the cleanup
        if not self._reporter.delivering:
            self._reporter.killed()
            raise SystemExit(EXIT_KILLED)

    def _wake(self) -> None:
        self._woken = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _alarm(self, _number: int, _frame: object) -> None:
        if self._reporter.delivering:
            self._arm(0.05)
            return
        if self._woken:
            self._woken = False
            self._arm(self._out_of_time - time.monotonic())
            raise SystemExit(self._reporter.exit_code)
        if not self._interrupted:
            self._interrupted = True
            self._arm(self._run.margin / 2)
            what = self._reporter.step_in_progress()
            used = round(self._run.timeout - self._run.margin, 1)
            error = OutOfTime(f"{f'step {what!r}' if what else 'the probe'} did not finish within {used:g} s")
            self._reporter.record(error)
            raise error
        # The cleaning up hangs too, or the probe swallowed the exception: the report must still get out.
        self._reporter.write(ok=False)
        leave_now(self._reporter.exit_code)


def _leave(code: int | str | None) -> NoReturn:
    """End the process, even if another thread hangs."""
    left = [thread.name for thread in threading.enumerate() if not thread.daemon]
    left.remove(threading.current_thread().name)
    if not left or isinstance(code, str):
        sys.exit(code)
    sys.stderr.write(f"exiting while threads are still running: {', '.join(left)}\n")
    leave_now(code or 0)
