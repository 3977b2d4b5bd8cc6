"""Run and outcome rows have one owner: `kubeprobe.runs`."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "kubeprobe"
ROWS = {"Run", "Outcome"}
WRITERS = {"insert", "insert_ignoring_conflicts", "update", "update_each", "upsert", "delete", "add"}
ALLOWED = {"response/outcomes.py: update(Outcome)"}
"""Marks outcomes as processed (`responded_at`), the one column that responders write."""


def writes(file: Path) -> Iterator[str]:
    """Calls that write these rows or create one."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        tables = [argument.id for argument in node.args if isinstance(argument, ast.Name) and argument.id in ROWS]
        if called in ROWS:
            yield f"{file.relative_to(PACKAGE)}: {called}(...)"
        elif called in WRITERS:
            yield from (f"{file.relative_to(PACKAGE)}: {called}({table})" for table in tables)


def test_only_kubeprobe_runs_writes_runs_and_outcomes() -> None:
    elsewhere = [file for file in PACKAGE.rglob("*.py") if PACKAGE / "runs" not in file.parents]
    assert {write for file in elsewhere for write in writes(file)} == ALLOWED


def test_the_search_finds_the_owners_writes() -> None:
    owner = {write for file in (PACKAGE / "runs").glob("*.py") for write in writes(file)}
    assert {"runs/rows.py: insert_ignoring_conflicts(Outcome)", "runs/close.py: update(Run)"} <= owner
