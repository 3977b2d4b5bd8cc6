"""Which probe finds which fault, how fast, and how often one is alarmed for nothing, on the real cluster.

Every fault of every probe's scenario is brought about for real, and all probes run while it lasts; then all of them
run in rounds on the healthy cluster. What has been seen is kept beside the test bed, so that a benchmark that was
interrupted goes on, and a probe that was changed is looked at again by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.detection.seen import HEALTHY, Seen, SeenRuns
from benchmarks.detection.tables import tables
from benchmarks.report import Table
from benchmarks.runner import PROGRESS
from probes._access import find_access
from probes._api import Api
from testbed import Instance, Testbed
from testbed.instance import NODE_NAME
from tests.probes.breaking import nothing_broken
from tests.probes.catalog import catalog_of
from tests.probes.clusters import Ended, ProbedCluster
from tests.probes.leftovers import remove_left_by
from tests.probes.scenario import SCENARIOS, Bed, Fault, Scenario

NEEDS_REAL_CLUSTER = True
AT_ONCE = 6
HEALTHY_RUNS = 200
"""At least so many, all probes taken together."""
_ONLY_IN_PODS = {"cluster_dns", "service_connectivity"}
"""They look at what a pod is given: its resolver, its way to Services."""

Ready = dict[str, dict[str, str]]
"""The parameters for each probe's runs, by folder."""
RunOne = Callable[[Scenario], Ended | None]
"""Runs a probe; None if it cannot be run at present."""


def run(kubeconfig: Path) -> list[Table]:
    """Fill what has not been seen yet, then tell all of it."""
    testbed = Testbed(Instance(kubeconfig.parent.name))
    seen = SeenRuns.read(testbed.instance.state / "detection.jsonl")
    with _bed(testbed, kubeconfig) as bed, ExitStack() as stack:
        ready = {one.folder: stack.enter_context(one.ready(bed)) for one in SCENARIOS}
        _healthy_rounds(bed, ready, seen)
        for scenario in SCENARIOS:
            for fault in scenario.faults:
                _try(bed, ready, seen, scenario, fault)
    return tables(SCENARIOS, seen)


@contextmanager
def _bed(testbed: Testbed, kubeconfig: Path) -> Iterator[Bed]:
    tmp = testbed.instance.run / "detection"
    tmp.mkdir(parents=True, exist_ok=True)
    with Api(find_access({"KUBECONFIG": str(kubeconfig)})) as api:
        yield Bed(testbed, api, ProbedCluster(api, kubeconfig), tmp)


def _healthy_rounds(bed: Bed, ready: Ready, seen: SeenRuns) -> None:
    """Run every probe equally often while nothing is broken."""
    rounds = -(-HEALTHY_RUNS // len(SCENARIOS))
    for number in range(rounds):
        lacking = [one for one in SCENARIOS if seen.count(HEALTHY, one.folder) <= number]
        if lacking:
            PROGRESS.print(f"healthy round {number + 1} of {rounds} ...", style="dim")
            _run_all(lacking, partial(_in_a_pod, bed, ready), HEALTHY, seen)


def _try(bed: Bed, ready: Ready, seen: SeenRuns, scenario: Scenario, fault: Fault) -> None:
    """Break the cluster, have those probes run there that have not been seen with it, mend the cluster."""
    key = f"{scenario.folder}/{fault.name}"
    lacking = [one for one in SCENARIOS if not seen.count(key, one.folder)]
    if fault.breaks is nothing_broken:  # nobody else could see anything
        lacking = [one for one in lacking if one is scenario]
    if not lacking:
        return
    PROGRESS.print(f"fault {key}: {len(lacking)} probes ...", style="dim")
    beside = {one.folder: bed.cluster.process(one.folder, bed.tmp) for one in lacking if _may_run_beside(one)}
    own = bed.cluster.process(scenario.folder, bed.tmp) if fault.runs_as == "process" else None
    with fault.breaks(bed) as found:
        ready = {**ready, scenario.folder: {**ready[scenario.folder], **fault.parameters, **(found or {})}}

        def run_one(one: Scenario) -> Ended | None:
            if one is scenario:
                return own.run(**ready[one.folder]) if own else _in_a_pod(bed, ready, one, fault.runs_as)
            if one.folder in beside:
                return beside[one.folder].run(**ready[one.folder])
            return None if fault.runs_as == "process" else _in_a_pod(bed, ready, one, fault.runs_as)

        if scenario in lacking:  # first and by itself: how fast it is should not depend on the others
            _run_all([scenario], run_one, key, seen, fault)
        _run_all([one for one in lacking if one is not scenario], run_one, key, seen)


def _run_all(
    scenarios: Sequence[Scenario], run_one: RunOne, key: str, seen: SeenRuns, fault: Fault | None = None
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one, told in zip(scenarios, pool.map(partial(_carefully, run_one), scenarios), strict=True):
            seen.add(
                Seen.of(
                    key, one.folder, told, named=bool(fault and isinstance(told, Ended) and fault.is_named_in(told))
                )
            )


def _carefully(run_one: RunOne, one: Scenario) -> Ended | str | None:
    """What a probe found; why it could not be run, where it could not."""
    try:
        return run_one(one)
    except Exception as error:  # noqa: BLE001 - one probe that a fault keeps from running is a result too
        return f"not run: {error}"


def _in_a_pod(bed: Bed, ready: Ready, one: Scenario, runs_as: str = "pod") -> Ended:
    with bed.for_a_thread() as own:
        ended = own.cluster.run(one.folder, node=NODE_NAME if runs_as == "pinned" else "", **ready[one.folder])
        remove_left_by(own.api, ended.run)
    return ended


def _may_run_beside(one: Scenario) -> bool:
    """Whether a probe sees the same from outside of a pod: it mounts nothing and looks at no node."""
    [template] = catalog_of(one.folder).templates.values()
    return not template.pod and one.folder not in _ONLY_IN_PODS
