"""Runs each benchmark in a process of its own, inside the test bed's network if it needs the real API server."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from benchmarks.report import Table
from testbed import Instance, Testbed

NAMES = ("requests", "statements", "throughput", "fleet", "schedules", "startup")
LONG = ("detection",)
"""Run only when named: it takes hours."""
ROOT = Path(__file__).parents[1]
PROGRESS = Console(stderr=True)


def main() -> int:
    """Run the named benchmarks, by default `NAMES`; returns 1 if any failed."""
    arguments = _parser().parse_args()
    if arguments.inside:
        return _run_here(arguments.names[0], arguments.kubeconfig)
    names = arguments.names or NAMES
    failed, tables = [], {}
    with _Bed(arguments.bed) as bed:
        for name in names:
            PROGRESS.print(f"benchmark {name} ...", style="dim")
            found = _run_in_process(name, bed)
            if found is None:
                failed.append(name)
                continue
            tables[name] = found
            if arguments.output == "table":
                _print(found)
            if arguments.output == "markdown":
                print("\n".join(Table(**table).as_markdown() for table in found))
    if arguments.output == "json":
        print(json.dumps(tables, indent=2))
    if failed:
        PROGRESS.print(f"failed: {', '.join(failed)}; their messages are above", style="red")
    return int(bool(failed))


class _Bed:
    """The test bed: started for the first benchmark that needs it, and then taken down at the end."""

    def __init__(self, name: str) -> None:
        self._testbed = Testbed(Instance(name))
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._testbed.down()

    def command(self, argv: list[str]) -> list[str]:
        """The command that runs `argv` inside the test bed."""
        if not self._started and not all(fact.ok for fact in self._testbed.status()):
            PROGRESS.print("starting the test bed ...", style="dim")
            self._started = True
            self._testbed.up()
        return self._testbed.instance.in_namespace([*argv, "--kubeconfig", str(self._testbed.instance.kubeconfig)])


def _run_in_process(name: str, bed: _Bed) -> list[dict[str, Any]] | None:
    """Run one benchmark in a process of its own; None if it failed."""
    argv = [sys.executable, "-m", "benchmarks", name, "--inside"]
    if import_module(f"benchmarks.{name}").NEEDS_REAL_CLUSTER:
        argv = bed.command(argv)
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ, check=False)
    if done.returncode != 0:
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _run_here(name: str, kubeconfig: Path | None) -> int:
    module = import_module(f"benchmarks.{name}")
    tables: Sequence[Table] = module.run(kubeconfig) if module.NEEDS_REAL_CLUSTER else module.run()
    print(json.dumps([table.as_json() for table in tables]))
    return 0


def _print(tables: list[dict[str, Any]]) -> None:
    console = Console()
    for table in tables:
        Table(**table).print(console)
        console.print()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the cost of KubeProbe.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[[], *NAMES, *LONG],
        help=f"one of: {', '.join((*NAMES, *LONG))} (default: all but {', '.join(LONG)})",
    )
    parser.add_argument("--output", choices=("table", "markdown", "json"), default="table")
    parser.add_argument("--bed", default="bench", metavar="NAME", help="name of the test bed (default: %(default)s)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kubeconfig", type=Path, help=argparse.SUPPRESS)
    return parser
