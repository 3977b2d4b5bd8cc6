import importlib.util
import re
from textwrap import dedent

import pytest

# `soon()` lets the time-out expire shortly after it is called, however long the interpreter took to get there.
SOON = """
import os
import signal
os.environ["KUBEPROBE_RUN_TIMEOUT"] = "20"
def soon():
    signal.setitimer(signal.ITIMER_REAL, 0.2)
"""
# The time-out expires before the probe's function is called, or a moment later.
AT_ONCE = """
import os
from datetime import datetime, timezone
from kubeprobe_client._run import _process_start
age = (datetime.now(timezone.utc) - _process_start()).total_seconds()
os.environ["KUBEPROBE_RUN_TIMEOUT"] = str(2 * (age + 0.1))
"""


def failed_late(result, what: str) -> bool:
    """Whether the only error is that `what` did not finish in time."""
    [error] = result.report["errors"]
    return re.fullmatch(rf"{re.escape(what)} did not finish within [\d.]+ s", error) is not None


def test_a_function_that_returns_is_a_success(ended) -> None:
    result = ended("""
        @main
        def probe():
            measure("answers", 1)
        """)
    assert result.code == 0
    assert result.report["ok"] is True


def test_an_async_function_is_awaited(ended) -> None:
    result = ended("""
        @main
        async def probe():
            with step("look"):
                raise ValueError("broken")
        """)
    assert result.code == 1
    assert result.report["errors"] == ["look: ValueError: broken (probe.py:6)"]


def test_a_function_that_handles_a_failed_step_is_not_a_success(ended) -> None:
    result = ended("""
        @main
        def probe():
            for name in ("a", "b"):
                try:
                    with step(name):
                        raise CheckFailed("down")
                except CheckFailed:
                    pass
        """)
    assert result.code == 1
    assert result.report["errors"] == ["a: down", "b: down"]


def test_an_uncaught_exception_is_reported_with_type_message_and_line(ended) -> None:
    result = ended(
        """
        import json
        @main
        def probe():
            read()
        """.replace("@main", "def read():\n            json.loads('{')\n        @main")
    )
    assert result.code == 1
    [error] = result.report["errors"]
    assert error.startswith("JSONDecodeError: ")
    assert error.endswith("(probe.py:5)")
    assert "Traceback (most recent call last)" in result.err


def test_an_exception_without_a_message_shows_its_line(ended) -> None:
    result = ended("""
        @main
        def probe():
            assert 1 + 1 == 3
        """)
    assert result.report["errors"] == ["AssertionError: assert 1 + 1 == 3 (probe.py:5)"]


def test_an_exception_in_a_thread_is_a_failure(ended) -> None:
    result = ended("""
        import threading
        @main
        def probe():
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
        """)
    assert result.code == 1
    assert result.report["errors"] == ["ZeroDivisionError: division by zero (probe.py:6)"]


@pytest.mark.parametrize(("call", "code"), [("sys.exit()", 0), ("sys.exit(7)", 7), ("sys.exit('bye')", 1)])
def test_a_probes_own_exit_is_respected_and_unreported(ended, call, code) -> None:
    result = ended(f"import sys\nmain(lambda: {call})")
    assert result.code == code
    assert result.raw == b""


def test_the_report_is_final(ended) -> None:
    result = ended("""
        @main
        def probe():
            try:
                report_success()
            finally:
                raise OSError("cleaning up failed")
        """)
    assert result.code == 0
    assert result.report["ok"] is True
    assert "cleaning up failed" in result.err


def test_a_step_that_hangs_is_named_and_the_probe_cleans_up(ended) -> None:
    result = ended(
        SOON
        + dedent("""
        import threading
        @main
        def probe():
            try:
                with step("wait for godot"):
                    soon()
                    threading.Event().wait()
            finally:
                print("cleaned up")
        """)
    )
    assert result.code == 1
    assert failed_late(result, "step 'wait for godot'")
    assert result.report["steps"][0]["ok"] is False
    assert "cleaned up" in result.out


def test_a_hang_outside_of_steps_is_reported(ended) -> None:
    result = ended(AT_ONCE + "import threading\nmain(lambda: threading.Event().wait())")
    assert failed_late(result, "the probe")


def test_a_hang_in_another_thread_names_its_step_and_ends_the_process(ended) -> None:
    result = ended(
        SOON
        + dedent("""
        import threading
        from concurrent.futures import ThreadPoolExecutor
        def look():
            with step("look at node 7"):
                soon()
                threading.Event().wait()
        @main
        def probe():
            with ThreadPoolExecutor() as pool:
                pool.submit(look).result()
        """)
    )
    assert result.code == 1
    assert failed_late(result, "step 'look at node 7'")


def test_a_cleanup_that_hangs_does_not_prevent_the_report(ended) -> None:
    result = ended(
        SOON
        + dedent("""
        import threading
        @main
        def probe():
            while True:
                try:
                    with step("stubborn"):
                        if signal.getitimer(signal.ITIMER_REAL)[0] > 2:  # the second alarm is the library's own
                            soon()
                        threading.Event().wait()
                except BaseException:
                    pass
        """)
    )
    assert result.code == 1
    assert failed_late(result, "step 'stubborn'")


def test_a_retry_loop_does_not_catch_the_time_out(ended) -> None:
    result = ended(
        SOON
        + dedent("""
        import threading
        @main
        def probe():
            while True:
                try:
                    with step("retry"):
                        soon()
                        threading.Event().wait()
                except Exception:
                    pass
        """)
    )
    assert result.code == 1
    assert failed_late(result, "step 'retry'")


def test_a_thread_that_reports_ends_the_main_thread_which_cleans_up(ended) -> None:
    result = ended("""
        import threading
        @main
        def probe():
            try:  # it may report before `start` returns
                threading.Thread(target=report_failure, args=(["from a thread"],)).start()
                threading.Event().wait(20)
            finally:
                print("cleaned up")
        """)
    assert result.code == 1
    assert result.report["errors"] == ["from a thread"]
    assert "cleaned up" in result.out


def test_sigterm_leaves_no_report_but_cleans_up(program) -> None:
    result = program("""
        import threading
        @main
        def probe():
            try:
                with step("wait"):
                    print("waiting", flush=True)
                    threading.Event().wait()
            finally:
                print("cleaned up")
        """).terminate_after("waiting")
    assert result.code == 143
    assert result.raw == b""
    assert "cleaned up" in result.out


def test_a_killed_probe_cannot_report_during_its_cleanup(program) -> None:
    result = program("""
        import threading
        @main
        def probe():
            try:
                print("waiting", flush=True)
                threading.Event().wait()
            finally:
                raise ValueError("half done")
        """).terminate_after("waiting")
    assert result.code == 143
    assert result.raw == b""


def test_a_probe_can_be_imported_by_its_tests(tmp_path) -> None:
    file = tmp_path / "a_probe.py"
    file.write_text("from kubeprobe_client import main\n@main\ndef probe():\n    return 42\n")
    spec = importlib.util.spec_from_file_location("a_probe", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.probe() == 42


def test_main_called_from_a_function_of_a_module_runs(program, tmp_path) -> None:
    (tmp_path / "cli.py").write_text("from kubeprobe_client import main\ndef start():\n    main(lambda: None)\n")
    one = program("import cli\ncli.start()")
    result = one.finish(one.start())
    assert result.code == 0
    assert result.report["ok"] is True
