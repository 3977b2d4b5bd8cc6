import json
import time


def test_success_is_exit_0_and_an_ok_report(ended) -> None:
    began = time.monotonic()
    result = ended("""
        with step("look"):
            measure("answers", 3)
        report_success()
        print("not reached")
        """)
    whole_ms = (time.monotonic() - began) * 1000
    assert result.code == 0
    assert result.report["ok"] is True
    assert result.report["errors"] == []
    assert result.report["metrics"] == {"answers": 3}
    [look] = result.report["steps"]
    assert (look["name"], look["ok"]) == ("look", True)
    assert 0 <= look["ms"] < whole_ms
    assert "not reached" not in result.out


def test_failure_is_exit_1_with_errors(ended) -> None:
    result = ended('report_failure(["no answer", "", "no route"])')
    assert result.code == 1
    assert result.report == {"ok": False, "errors": ["no answer", "no route"], "steps": [], "metrics": {}}


def test_a_single_text_is_one_error(ended) -> None:
    assert ended('report_failure("no answer")').report["errors"] == ["no answer"]


def test_a_failure_without_a_reason_has_a_default_error(ended) -> None:
    assert ended("report_failure([])").report["errors"] == ["the probe reported a failure without a reason"]


def test_giving_up_is_exit_2_and_unknown(ended) -> None:
    result = ended('give_up("permission missing: create pods in X")')
    assert result.code == 2
    assert result.report == {"unknown": "permission missing: create pods in X"}


def test_the_first_report_is_final(ended) -> None:
    result = ended("""
        try:
            report_failure(["first"])
        finally:
            report_success()
        """)
    assert result.code == 1
    assert result.report["errors"] == ["first"]


def test_a_failing_step_is_recorded_and_named(ended) -> None:
    result = ended("""
        @main
        def probe():
            with step("create"):
                pass
            with step("outer"):
                with step("wait ready"):
                    raise ValueError("no node")
        """)
    assert result.code == 1
    assert result.report["errors"] == ["wait ready: ValueError: no node (probe.py:9)"]
    assert [(s["name"], s["ok"]) for s in result.report["steps"]] == [
        ("create", True),
        ("outer", False),
        ("wait ready", False),
    ]


def test_texts_of_a_failed_check_are_reported_unchanged(ended) -> None:
    result = ended("""
        @main
        def probe():
            with step("read"):
                raise CheckFailed("log is empty", "and late")
        """)
    assert result.report["errors"] == ["read: log is empty", "read: and late"]


def test_a_step_open_while_reporting_is_part_of_the_report(ended) -> None:
    result = ended("""
        with step("all"):
            report_failure(["broken"])
        """)
    assert [(s["name"], s["ok"]) for s in result.report["steps"]] == [("all", False)]


def test_a_handled_failure_is_not_an_error_of_a_success(ended) -> None:
    result = ended("""
        try:
            with step("first try"):
                raise OSError("refused")
        except OSError:
            pass
        report_success()
        """)
    assert result.code == 0
    assert result.report["errors"] == []
    assert result.report["steps"][0]["ok"] is False


def test_a_measurement_must_be_a_finite_number(ended) -> None:
    result = ended('main(lambda: measure("ratio", float("nan")))')
    assert result.code == 1
    assert "ratio" in result.report["errors"][0]
    assert "expected a finite number" in result.report["errors"][0]


def test_a_probe_started_by_hand_prints_its_result(ended) -> None:
    result = ended(
        """
        with step("look"):
            measure("answers", 3)
        report_failure(["no answer"])
        """,
        KUBEPROBE_REPORT_FILE="",
    )
    assert result.code == 1
    assert result.raw == b""
    assert result.out.startswith("FAIL\n  error: no answer\n  step:  look ok ")
    assert "answers = 3" in result.out


def test_a_failure_to_write_the_report_is_logged(ended) -> None:
    result = ended("report_success()", KUBEPROBE_REPORT_FILE="/nowhere/report")
    assert result.code == 0
    assert "cannot write the report" in result.out


def test_an_older_report_in_the_file_is_replaced(program) -> None:
    one = program("report_success()")
    one.report_file.write_text("x" * 9000)
    assert one.finish(one.start()).report["ok"] is True


def test_a_closed_stdout_changes_nothing(program) -> None:
    one = program("import os, sys\nsys.stdout.close()\nreport_success()")
    result = one.finish(one.start())
    assert result.code == 0
    assert result.report["ok"] is True


def test_a_report_of_a_thread_ends_the_process(ended) -> None:
    result = ended("""
        import threading
        threading.Thread(target=report_failure, args=(["from a thread"],)).start()
        threading.Event().wait(20)
        """)
    assert result.code == 1
    assert result.report["errors"] == ["from a thread"]


def test_many_threads_make_one_report(ended) -> None:
    result = ended("""
        import threading
        together = threading.Barrier(8)
        def check(number):
            with step(f"check {number}"):
                together.wait()
            report_failure([f"thread {number}"]) if number % 2 else report_success()
        threads = [threading.Thread(target=check, args=(number,), daemon=True) for number in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """)
    assert result.code == (0 if result.report["ok"] else 1)
    assert len(result.report["steps"]) == 8
    assert [line for line in result.out.splitlines() if not line.startswith("  ")] == [
        "PASS" if result.report["ok"] else "FAIL"
    ]


def test_a_report_longer_than_kubernetes_keeps_is_truncated(ended) -> None:
    result = ended('report_failure([f"pod-{n} is pending: 漢" for n in range(5000)])')
    assert len(result.raw) <= 4096
    assert json.loads(result.raw)["truncated"] is True
