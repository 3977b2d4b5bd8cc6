"""Runs that were seen, kept in a file of one JSON object a line. Next: `tables` sums them up."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from testbed.cache import digest
from tests.probes.clusters import Ended
from tests.probes.places import PROBES

HEALTHY = "healthy"
_KIT = tuple(sorted(PROBES.glob("_*.py")))


@dataclass(frozen=True)
class Seen:
    """One probe's run while a fault lasted, or on the healthy cluster."""

    fault: str
    """`folder/name` of the fault, or HEALTHY."""
    probe: str
    verdict: str
    """pass, fail, unknown; or why there is none."""
    seconds: float
    said: str
    """The first error."""
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
        said = told.errors[0] if told.errors else ""
        return cls(fault, probe, told.verdict, round(told.seconds, 1), said, named, version)


class SeenRuns:
    """All runs that were seen of the probes and faults as they are now."""

    def __init__(self, file: Path, runs: list[Seen]) -> None:
        self._file = file
        self._runs = runs

    @classmethod
    def read(cls, file: Path) -> Self:
        """What the file holds and is still of the same version."""
        lines = file.read_text().splitlines() if file.exists() else []
        runs = [Seen(**json.loads(line)) for line in lines]
        return cls(file, [run for run in runs if run.version == version_of(run.fault, run.probe)])

    def add(self, run: Seen) -> None:
        """Keep a run."""
        self._runs.append(run)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")

    def count(self, fault: str, probe: str) -> int:
        """How often a probe was run with a fault."""
        return sum(1 for _ in self.of(fault, probe))

    def of(self, fault: str, probe: str) -> Iterator[Seen]:
        """A probe's runs with a fault."""
        return (run for run in self._runs if (run.fault, run.probe) == (fault, probe))

    def under(self, fault: str) -> list[Seen]:
        """Every probe's runs with a fault."""
        return [run for run in self._runs if run.fault == fault]


def version_of(fault: str, probe: str) -> str:
    """A hash over the probe's folder, and over the scenario that the fault is from."""
    folder = fault.partition("/")[0]
    scenario = PROBES / folder / "tests" / "scenario.py"
    own = (scenario,) if fault != HEALTHY and scenario.exists() else ()
    there = (PROBES / probe,) if (PROBES / probe).is_dir() else ()
    return digest(*there, *own, *_KIT)
