"""The termination message of a probe's container."""

import orjson

from kubeprobe.execution.report import Report, read_report

SEEDS = (
    b'{"ok": true, "errors": [], "steps": [{"name": "create", "seconds": 0.5}], "measurements": {"bytes": 4096}}',
    b'{"ok": false, "errors": ["Pod p: not ready after 30 s", "\\u0000"]}',
    b'{"unknown": "no node to probe"}',
)


def fuzz(data: bytes) -> None:
    """It raises nothing, and what it returns can be stored."""
    report = read_report(data.decode(errors="replace"))
    if isinstance(report, Report):
        assert b"\\u0000" not in orjson.dumps(report.body).replace(rb"\\", b"")
