"""Recorded runs, in a file with one JSON object per line. `tables` summarizes them.

The file is part of the repository: a full benchmark takes hours; after a change of one probe only its runs are needed.
"""

import ast
import io
import itertools
import json
import tokenize
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Self

import yaml

from testbed.cache import digest
from tests.probes.clusters import Ended
from tests.probes.paths import PROBES

HEALTHY = "healthy"
RUNS_FILE = Path(__file__).with_name("seen.jsonl")


@dataclass(frozen=True)
class RecordedRun:
    """One probe's run with a fault, or on the healthy cluster."""

    fault: str
    """`folder/name` of the fault, or HEALTHY."""
    probe: str
    verdict: str
    """pass, fail, unknown; none if the probe did not run."""
    seconds: float
    error: str
    """The beginning of the first error."""
    named: bool
    """Whether the fault's own probe failed and named the fault's cause."""
    version: str
    """The hash of probe and fault; runs of another version do not count."""

    @classmethod
    def of(cls, fault: str, probe: str, result: Ended | str | None, *, named: bool) -> Self:
        """The record of a result; a text says why the probe did not run."""
        version = version_of(fault, probe)
        if not isinstance(result, Ended):
            return cls(fault, probe, "none", 0.0, result or "not run: it needs a pod", named, version)
        error = result.errors[0][:200] if result.errors else ""
        return cls(fault, probe, result.verdict, round(result.seconds, 1), error, named, version)


class RecordedRuns:
    """The latest runs of every fault and probe; several processes may append to the file at once."""

    def __init__(self, file: Path = RUNS_FILE) -> None:
        self._file = file
        self._runs: dict[tuple[str, str], list[RecordedRun]] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            self._take(RecordedRun(**json.loads(line)))

    def add(self, run: RecordedRun) -> None:
        """Append a run to the file."""
        self._take(run)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")

    def lacks(self, fault: str, probe: str, runs: int = 1) -> bool:
        """Whether fewer than `runs` runs of the current versions of probe and fault are recorded."""
        found = self.of(fault, probe)
        return len(found) < runs or found[0].version != version_of(fault, probe)

    def of(self, fault: str, probe: str) -> list[RecordedRun]:
        """A probe's runs with a fault, all of the latest recorded version."""
        return self._runs.get((fault, probe), [])

    def with_fault(self, fault: str) -> list[RecordedRun]:
        """All probes' runs with a fault."""
        return [run for (of, _), runs in self._runs.items() if of == fault for run in runs]

    def outdated(self) -> tuple[int, int]:
        """The number of runs of an outdated version, and of all runs."""
        runs = [run for kept in self._runs.values() for run in kept]
        return sum(run.version != version_of(run.fault, run.probe) for run in runs), len(runs)

    def usual_seconds(self, probe: str) -> float:
        """The median of a probe's healthy runs; 0 if there are none."""
        runs = self.of(HEALTHY, probe)
        return median(run.seconds for run in runs) if runs else 0.0

    def tidy(self) -> None:
        """Rewrite the file without superseded runs, sorted, so that its diffs are readable."""
        runs = sorted((run for kept in self._runs.values() for run in kept), key=lambda run: (run.fault, run.probe))
        self._file.write_text("".join(json.dumps(asdict(run)) + "\n" for run in runs))

    def _take(self, run: RecordedRun) -> None:
        kept = self._runs.setdefault((run.fault, run.probe), [])
        if kept and kept[0].version != run.version:
            kept.clear()
        kept.append(run)


@cache
def version_of(fault: str, probe: str) -> str:
    """A hash of the probe's code and catalog, and of the fault's scenario.

    Of Python code only statements count, and of the catalog all but descriptions: comments, docstrings and
    descriptions may change without new runs.
    """
    scenario = PROBES / fault.partition("/")[0] / "tests" / "scenario.py"
    return digest(*map(_hashed_text, [scenario] if scenario.exists() else []), *map(_hashed_text, _code_of(probe)))


@cache
def _hashed_text(file: Path) -> str:
    text = file.read_text()
    return f"{file.relative_to(PROBES)} {statements_of(text) if file.suffix == '.py' else declarations_of(text)}"


def declarations_of(catalog: str) -> str:
    """A catalog without comments and descriptions, as JSON."""
    documents = list(yaml.safe_load_all(catalog))
    for document in documents:
        document["spec"].pop("description", None)
    return json.dumps(documents, sort_keys=True)


def statements_of(code: str) -> str:
    """Python code without comments, docstrings and line breaks; the same on every version of Python."""
    lines = code.splitlines(keepends=True)
    begins = [0, *itertools.accumulate(len(line) for line in lines)]

    def index(line: int, column: int) -> int:
        """The index of a position, by its line from 1 and its column in characters."""
        return begins[line - 1] + column

    def index_of_byte(line: int, offset: int) -> int:
        """The index of a position of `ast`, whose columns count bytes."""
        return index(line, len(lines[line - 1].encode()[:offset].decode()))

    dropped = [
        (index(*token.start), index(*token.end))
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    ]
    dropped += [
        (index_of_byte(node.lineno, node.col_offset), index_of_byte(node.end_lineno or 0, node.end_col_offset or 0))
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    for start, end in sorted(dropped, reverse=True):
        code = code[:start] + code[end:]
    return " ".join(code.split())


@cache
def _code_of(probe: str) -> tuple[Path, ...]:
    """A probe's catalog, its modules, and the modules in `probes` that these import."""
    found: set[Path] = set()
    pending = list((PROBES / probe).glob("*.py"))
    while pending:
        file = pending.pop()
        if file not in found:
            found.add(file)
            pending += _imported_by(file)
    return (PROBES / probe / "catalog.yaml", *sorted(found))


def _imported_by(file: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PROBES.name:
            module = PROBES.parent / str(node.module).replace(".", "/")
            names = [module.with_suffix(".py"), *(module / f"{name.name}.py" for name in node.names)]
            yield from (name for name in names if name.exists())
