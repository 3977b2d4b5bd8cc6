"""The scenario of a probe on the real cluster: its requirements, and the faults that it must detect.

Each probe's folder has `tests/scenario.py` with `healthy` (if it needs anything) and `FAULTS`. `test_scenarios` runs
them as tests, `benchmarks/detection` runs every fault with every probe.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

from probes._api import Api
from testbed import Testbed
from testbed.instance import NODE_NAME
from tests.probes.clusters import Ended, ProbedCluster
from tests.probes.paths import PROBES


@dataclass(frozen=True)
class Bed:
    """A running test bed, in whose network namespace this process runs."""

    testbed: Testbed
    api: Api
    """The API as the administrator."""
    cluster: ProbedCluster
    tmp: Path

    @contextmanager
    def for_a_thread(self) -> Iterator["Bed"]:
        """The same bed with its own connections, as an Api is not thread-safe."""
        with Api(self.api.access) as api:
            yield replace(self, api=api, cluster=self.cluster.with_connection(api))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of kubectl as the administrator; raises TestbedError if it fails."""
        return self.testbed.kubectl(*arguments, stdin=stdin, timeout=180)  # deleting a namespace waits for its pods


Parameters = Mapping[str, str]
State = Callable[[Bed], AbstractContextManager[Parameters | None]]
"""Brings the cluster into a state and reverts it at the end; yields parameters for the probe's run."""


@dataclass(frozen=True)
class Fault:
    """A real fault, and the error that its probe must report."""

    name: str
    """A sentence: `the scheduler is down`."""
    inject: State
    says: str
    """A regular expression that one of the report's errors matches: it names the cause."""
    parameters: Parameters = field(default_factory=dict)
    runs_as: Literal["pod", "pinned", "process"] = "pod"
    """pinned: without the scheduler; process: outside of a cluster that cannot run pods."""

    def is_named_in(self, ended: Ended) -> bool:
        """Whether the probe failed and named this fault's cause."""
        return ended.verdict == "fail" and any(re.search(self.says, error) for error in ended.errors)


@contextmanager
def _nothing(_bed: Bed) -> Iterator[Parameters]:
    yield {}


@dataclass(frozen=True)
class Scenario:
    """One probe's folder, what it needs on a healthy cluster, and its faults."""

    folder: str
    healthy: State = _nothing
    faults: tuple[Fault, ...] = ()

    @contextmanager
    def ready(self, bed: Bed) -> Iterator[dict[str, str]]:
        """Create what the probe needs; yields the parameters for its runs."""
        bed.cluster.grant_rights(self.folder)
        with self.healthy(bed) as parameters:
            yield dict(parameters or {})

    def run_with(self, bed: Bed, fault: Fault, parameters: Parameters) -> Ended:
        """Inject the fault, run the probe, remove the fault."""
        process = bed.cluster.process(self.folder, bed.tmp) if fault.runs_as == "process" else None
        with fault.inject(bed) as found:
            env = {**parameters, **fault.parameters, **(found or {})}
            if process is not None:
                return process.run(**env)
            return bed.cluster.run(self.folder, node=NODE_NAME if fault.runs_as == "pinned" else "", **env)


def scenario_of(folder: str) -> Scenario:
    """A probe's scenario; a default one if it has none of its own."""
    if not (PROBES / folder / "tests" / "scenario.py").exists():
        return Scenario(folder)
    own = import_module(f"probes.{folder}.tests.scenario")
    return Scenario(folder, getattr(own, "healthy", _nothing), tuple(getattr(own, "FAULTS", ())))


SCENARIOS = tuple(scenario_of(path.parent.name) for path in sorted(PROBES.glob("*/catalog.yaml")))
"""The scenarios of all built-in probes, by folder name."""
