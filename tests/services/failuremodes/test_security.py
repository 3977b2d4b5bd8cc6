"""Claims of docs/security.md that no other test shows."""

import inspect

from workers import launching


def test_the_task_that_runs_a_case_takes_no_parameters() -> None:
    """Parameters may be secret, and a task's arguments are readable in the broker and in Flower."""
    assert list(inspect.signature(launching.run_probe.run).parameters) == ["case", "cluster"]
