"""Parsing the termination message of a probe's container."""

import pytest

from kubeprobe.execution.report import MAX_BYTES, InvalidReport, Report, read_report


@pytest.mark.parametrize("message", [None, "", "  \n\t"])
def test_without_a_message_there_is_no_report(message: str | None) -> None:
    assert read_report(message) is None


@pytest.mark.parametrize(
    ("message", "report"),
    [
        ('{"ok": true}', Report(ok=True)),
        ('{"ok": true}\n', Report(ok=True)),
        ('{"ok": true, "errors": []}', Report(ok=True)),
        ('{"ok": true, "errors": null}', Report(ok=True)),
        ('{"ok": false}', Report(ok=False)),
        ('{"ok": false, "errors": ["a", "b"]}', Report(ok=False, errors=("a", "b"))),
        ('{"ok": false, "errors": ["a"], "truncated": true}', Report(ok=False, errors=("a",))),
        ('{"unknown": "no right"}', Report(ok=False, unknown="no right")),
        ('{"ok": false, "unknown": "no right"}', Report(ok=False, unknown="no right")),
        ('{"ok": true, "more": {"than": ["we", "know"]}}', Report(ok=True)),
    ],
)
def test_a_valid_report_is_parsed(message: str, report: Report) -> None:
    found = read_report(message)
    assert isinstance(found, Report)
    assert (found.ok, found.errors, found.unknown) == (report.ok, report.errors, report.unknown)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("all is well", "not JSON: "),
        ('{"ok": true', "not JSON: "),
        ('{"ok": true} {"ok": false}', "not JSON: "),
        ('{"ok": true, "metrics": {"ms": NaN}}', "not JSON: "),
        ('{"ok": true, "metrics": {"ms": 1e999}}', "not JSON: "),
        ('{"ok": false, "errors": ["\\ud800"]}', "not JSON: "),
        ("true", "not a JSON object but a bool"),
        ("[]", "not a JSON object but a list"),
        ("{}", 'invalid ("ok" must be true or false)'),
        ('{"ok": 1}', 'invalid ("ok" must be true or false)'),
        ('{"ok": "true"}', 'invalid ("ok" must be true or false)'),
        ('{"unknown": 3}', 'invalid ("ok" must be true or false)'),
        ('{"ok": false, "errors": "boom"}', 'invalid ("errors" must be a list of strings)'),
        ('{"ok": false, "errors": [1]}', 'invalid ("errors" must be a list of strings)'),
        ('{"ok": true, "errors": ["but"]}', 'inconsistent ("ok" is true, but "errors" is not empty)'),
        ('{"ok": true, "steps": ' + "[" * 900 + "]" * 900 + "}", "nested deeper than 20"),
    ],
)
def test_an_invalid_report_has_its_problem(message: str, why: str) -> None:
    found = read_report(message)
    assert isinstance(found, InvalidReport)
    assert found.problem.startswith(why)
    assert not found.truncated


@pytest.mark.parametrize("head", ['{"ok": false, "errors": ["', "é" * 100], ids=["ascii", "two bytes a letter"])
def test_a_message_of_the_limits_length_was_truncated_by_the_kubelet(head: str) -> None:
    fitting = (head + "é" * MAX_BYTES).encode()[:MAX_BYTES].decode(errors="ignore")
    found = read_report(fitting)
    assert isinstance(found, InvalidReport)
    assert found.truncated


def test_a_valid_report_of_the_limits_length_is_not_truncated() -> None:
    room = MAX_BYTES - len('{"ok": false, "errors": [""]}')
    found = read_report('{"ok": false, "errors": ["' + "x" * room + '"]}')
    assert isinstance(found, Report)


def test_nul_characters_are_replaced_everywhere() -> None:
    found = read_report('{"ok": false, "errors": ["a\\u0000"], "steps": [{"na\\u0000me": "b\\u0000"}]}')
    assert isinstance(found, Report)
    assert found.errors == ("a\N{REPLACEMENT CHARACTER}",)
    assert "\0" not in repr(found.body)
    assert "\\x00" not in repr(found.body)
