"""Runs that were seen, kept in a file of one JSON object a line. Next: `tables` sums them up.

The file is part of the repository: a full run takes hours, and a change of one probe asks for that probe's runs only.
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

from testbed.cache import digest
from tests.probes.clusters import Ended
from tests.probes.places import PROBES

HEALTHY = "healthy"
KEPT = Path(__file__).with_name("seen.jsonl")


@dataclass(frozen=True)
class RecordedRun:
    """One probe's run while a fault lasted, or on the healthy cluster."""

    fault: str
    """`folder/name` of the fault, or HEALTHY."""
    probe: str
    verdict: str
    """pass, fail, unknown; or why there is none."""
    seconds: float
    said: str
    """The first error, or its beginning."""
    named: bool
    """Whether it failed for the fault's own reason, where it is the fault's own probe."""
    version: str
    """Of the probe and of the fault: another one's runs do not count."""

    @classmethod
    def of(cls, fault: str, probe: str, told: Ended | str | None, *, named: bool) -> Self:
        """What is kept of a run."""
        version = version_of(fault, probe)
        if not isinstance(told, Ended):
            return cls(fault, probe, "none", 0.0, told or "not run: it needs a pod", named, version)
        said = told.errors[0][:200] if told.errors else ""
        return cls(fault, probe, told.verdict, round(told.seconds, 1), said, named, version)


class RecordedRuns:
    """What was seen last of every fault and probe; several processes may add to the file at once."""

    def __init__(self, file: Path = KEPT) -> None:
        self._file = file
        self._runs: dict[tuple[str, str], list[RecordedRun]] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            self._take(RecordedRun(**json.loads(line)))

    def add(self, run: RecordedRun) -> None:
        """Keep a run."""
        self._take(run)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")

    def lacks(self, fault: str, probe: str, runs: int = 1) -> bool:
        """Whether a probe as it is now was run less often than this with a fault as it is now."""
        found = self.of(fault, probe)
        return len(found) < runs or found[0].version != version_of(fault, probe)

    def of(self, fault: str, probe: str) -> list[RecordedRun]:
        """A probe's runs with a fault, all of one version: the last that was seen."""
        return self._runs.get((fault, probe), [])

    def under(self, fault: str) -> list[RecordedRun]:
        """Every probe's runs with a fault."""
        return [run for (of, _), runs in self._runs.items() if of == fault for run in runs]

    def outdated(self) -> tuple[int, int]:
        """How many runs are of a probe or fault that has changed since, and how many there are."""
        runs = [run for kept in self._runs.values() for run in kept]
        return sum(run.version != version_of(run.fault, run.probe) for run in runs), len(runs)

    def usual_seconds(self, probe: str) -> float:
        """The median of a probe's healthy runs; 0 if there are none."""
        runs = self.of(HEALTHY, probe)
        return median(run.seconds for run in runs) if runs else 0.0

    def tidy(self) -> None:
        """Write the file anew without what has been superseded, ordered, so that changes to it can be read."""
        runs = sorted((run for kept in self._runs.values() for run in kept), key=lambda run: (run.fault, run.probe))
        self._file.write_text("".join(json.dumps(asdict(run)) + "\n" for run in runs))

    def _take(self, run: RecordedRun) -> None:
        kept = self._runs.setdefault((run.fault, run.probe), [])
        if kept and kept[0].version != run.version:
            kept.clear()
        kept.append(run)


@cache
def version_of(fault: str, probe: str) -> str:
    """A hash over the probe's code and catalog, and over the scenario that the fault is from.

    Over its statements, that is: comments and docstrings may change without all having to be seen again.
    """
    scenario = PROBES / fault.partition("/")[0] / "tests" / "scenario.py"
    return digest(*map(_meaning, [scenario] if scenario.exists() else []), *map(_meaning, _code_of(probe)))


@cache
def _meaning(file: Path) -> str:
    text = file.read_text()
    return f"{file.relative_to(PROBES)} {statements_of(text) if file.suffix == '.py' else text}"


def statements_of(code: str) -> str:
    """Python code without comments, docstrings and line breaks; the same on every version of Python."""
    lines = code.splitlines(keepends=True)
    begins = [0, *itertools.accumulate(len(line) for line in lines)]

    def place(line: int, column: int) -> int:
        """Where a token begins or ends, by its line from 1 and its column in characters."""
        return begins[line - 1] + column

    def place_of_byte(line: int, offset: int) -> int:
        """The same for ast, which counts bytes."""
        return place(line, len(lines[line - 1].encode()[:offset].decode()))

    dropped = [
        (place(*token.start), place(*token.end))
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    ]
    dropped += [
        (place_of_byte(node.lineno, node.col_offset), place_of_byte(node.end_lineno or 0, node.end_col_offset or 0))
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    for start, end in sorted(dropped, reverse=True):
        code = code[:start] + code[end:]
    return " ".join(code.split())


@cache
def _code_of(probe: str) -> tuple[Path, ...]:
    """A probe's catalog, its modules, and those of other folders of `probes` that they import."""
    found: set[Path] = set()
    coming = list((PROBES / probe).glob("*.py"))
    while coming:
        file = coming.pop()
        if file not in found:
            found.add(file)
            coming += _imported_by(file)
    return (PROBES / probe / "catalog.yaml", *sorted(found))


def _imported_by(file: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PROBES.name:
            module = PROBES.parent / str(node.module).replace(".", "/")
            names = [module.with_suffix(".py"), *(module / f"{name.name}.py" for name in node.names)]
            yield from (name for name in names if name.exists())
