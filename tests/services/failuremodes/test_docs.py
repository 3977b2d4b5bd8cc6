"""docs/failure-modes.md lists every failure mode, and every test and file that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOC = ROOT / "docs" / "failure-modes.md"
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
PLACE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py|[\w/]+/[\w-]+|Procfile)`")


def test_every_failure_mode_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+) \|", DOC.read_text(), re.MULTILINE)
    assert list(map(int, rows)) == list(range(1, 31))


def _test_file(name: str) -> Path:
    """Below `tests/`, or a probe's own, below its folder."""
    below = ROOT / "tests" / name
    return below if below.exists() else ROOT / name


def test_every_named_test_exists() -> None:
    named = TEST.findall(DOC.read_text())
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(?:async )?def test_{name}\(", _test_file(file).read_text(), re.MULTILINE)
    ]
    assert len(named) > 60
    assert not missing


def test_every_named_file_exists() -> None:
    named = set(PLACE.findall(DOC.read_text()))
    assert len(named) > 15
    assert not [p for p in named if not (ROOT / p).exists() and not (ROOT / "kubeprobe" / p).exists()]
