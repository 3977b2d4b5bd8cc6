"""docs/failure-modes.md lists every failure mode; every test and file that it and docs/security.md name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOC = ROOT / "docs" / "failure-modes.md"
SECURITY = ROOT / "docs" / "security.md"
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
PLACE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py|[\w/]+/[\w-]+|Procfile)`")


def test_every_failure_mode_has_a_row() -> None:
    rows = re.findall(r"^\| (\d+) \|", DOC.read_text(), re.MULTILINE)
    assert list(map(int, rows)) == list(range(1, 31))


def _test_file(name: str) -> Path:
    """Below `tests/`, or a probe's own, below its folder."""
    below = ROOT / "tests" / name
    return below if below.exists() else ROOT / name


@pytest.mark.parametrize(("doc", "at_least"), [(DOC, 60), (SECURITY, 40)])
def test_every_named_test_exists(doc: Path, at_least: int) -> None:
    named = TEST.findall(doc.read_text())
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(?:async )?def test_{name}\(", _test_file(file).read_text(), re.MULTILINE)
    ]
    assert len(named) > at_least
    assert not missing


def test_every_named_file_exists() -> None:
    named = set(PLACE.findall(DOC.read_text()))
    assert len(named) > 15
    assert not [p for p in named if not (ROOT / p).exists() and not (ROOT / "kubeprobe" / p).exists()]
