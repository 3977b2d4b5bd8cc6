import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubeprobe_client._report import LIMIT, Report, Step, encode_unknown

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on busy machines too

short = st.text(max_size=40)
texts = short | st.builds(
    lambda text, times: text * times, short | st.text('\x00"\\é漢😀', max_size=7), st.integers(50, 900)
)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63)
steps = st.builds(Step, name=texts, ms=st.floats(0, 1e7), ok=st.booleans())
reports = st.builds(
    Report,
    ok=st.booleans(),
    errors=st.lists(texts, max_size=60).map(tuple),
    steps=st.lists(steps, max_size=60).map(tuple),
    metrics=st.dictionaries(texts, numbers, max_size=60),
)


@unhurried
@given(reports, st.integers(512, LIMIT))
def test_a_report_is_valid_json_within_the_limit_and_keeps_ok(report: Report, limit: int) -> None:
    encoded = report.encode(limit)
    assert len(encoded) <= limit
    read = json.loads(encoded.decode("utf-8", "strict"))
    assert read["ok"] is report.ok
    assert read.get("truncated") is (None if len(report.as_bytes()) <= limit else True)


@unhurried
@given(reports)
def test_a_truncated_report_is_a_subsequence_of_the_full_one(report: Report) -> None:
    read = json.loads(report.encode())
    for kept, error in zip(read["errors"][:-1], report.errors, strict=False):
        assert error.startswith(kept.removesuffix("…"))
    assert all(value == report.metrics[name] for name, value in read["metrics"].items())
    whole = [(step.ok, round(step.ms, 1)) for step in report.steps]
    places = iter(whole)
    assert all((step["ok"], step["ms"]) in places for step in read["steps"])  # a subsequence


@unhurried
@given(reports)
def test_the_first_error_is_always_kept(report: Report) -> None:
    read = json.loads(report.encode())
    if report.errors and report.errors[0]:
        first = read["errors"][0].removesuffix("…")
        assert first
        assert report.errors[0].startswith(first)


@unhurried
@given(reports)
def test_a_report_within_the_limit_is_complete(report: Report) -> None:
    if len(report.as_bytes()) <= LIMIT:
        read = json.loads(report.encode())
        assert read == json.loads(report.as_bytes())
        assert read["errors"] == list(report.errors)


def test_left_out_errors_are_counted() -> None:
    errors = tuple(f"default/cert-{number}: expired on 2026-01-01" for number in range(500))
    read = json.loads(Report(False, errors).encode())
    shown = read["errors"][:-1]
    assert len(shown) > 50
    assert tuple(shown) == errors[: len(shown)]
    assert read["errors"][-1] == f"… and {500 - len(shown)} more"


def test_a_very_long_error_leaves_space_for_the_second() -> None:
    read = json.loads(Report(False, ("x" * 50_000, "the second")).encode())
    assert read["errors"][0].endswith("x…")
    assert read["errors"][1] == "the second"


def test_measurements_are_kept_when_errors_are_truncated() -> None:
    errors = tuple(f"certificate {number} has expired" for number in range(1000))
    metrics = {"certificates_checked": 1000.0, "days_to_first_expiry": -3.5}
    assert json.loads(Report(False, errors, (), metrics).encode())["metrics"] == metrics


def test_the_failed_step_of_a_thousand_is_kept() -> None:
    many = tuple(Step(f"step {number}", 1, number != 777) for number in range(1000))
    read = json.loads(Report(False, ("e" * 9000,), many).encode())
    assert "step 777" in [step["name"] for step in read["steps"]]
    assert len(read["steps"]) > 10


def test_text_that_utf8_cannot_encode_is_escaped() -> None:
    assert json.loads(Report(False, ("file \udcff",)).encode())["errors"] == ["file \\udcff"]


@unhurried
@given(st.text(max_size=9000), st.integers(512, LIMIT))
def test_the_reason_for_giving_up_has_the_same_limit(reason: str, limit: int) -> None:
    encoded = encode_unknown(reason, limit)
    assert len(encoded) <= limit
    read = json.loads(encoded)
    assert reason.encode("utf-8", "backslashreplace").decode().startswith(read["unknown"].removesuffix("…"))
    assert ("truncated" in read) is (read["unknown"] != reason)
