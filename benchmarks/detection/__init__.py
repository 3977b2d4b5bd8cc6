"""Which probe detects which fault, how fast, and with how many false alarms, on the real cluster.

Every fault of every probe's scenario is injected, and all probes run while it lasts; in addition, all of them run in
rounds on the healthy cluster. Runs are recorded in `seen.jsonl`, so that an interrupted benchmark resumes, and a
changed probe is run again alone. All of it takes hours on a small machine: KUBEPROBE_DETECTION_MINUTES ends it
earlier (the most important runs come first), and KUBEPROBE_DETECTION_SHARE=2/3 runs the second of three shares,
in parallel with the others on other test beds.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.detection.seen import HEALTHY, RecordedRun, RecordedRuns
from benchmarks.detection.tables import tables
from benchmarks.report import Table
from benchmarks.runner import PROGRESS
from probes._access import find_access
from probes._api import Api
from testbed import Instance, Testbed
from testbed.instance import NODE_NAME
from tests.probes.catalog import catalog_of
from tests.probes.clusters import Ended, ProbedCluster
from tests.probes.component_faults import nothing_broken
from tests.probes.leftovers import remove_left_by
from tests.probes.scenario import SCENARIOS, Bed, Fault, Scenario

NEEDS_REAL_CLUSTER = True
AT_ONCE = 4
FEW = 4
"""If at most this many other probes than the fault's own fail, they run again: the load may be the cause."""
HEALTHY_RUNS = 200
"""The minimum for all probes together."""
_ONLY_IN_PODS = {"cluster_dns", "http_endpoint", "service_connectivity", "virtual_cluster"}
"""These check what a pod has: its resolver, its route to Services."""

Ready = dict[str, dict[str, str]]
"""The parameters for each probe's runs, by folder."""
_WIDE = (
    "pod_lifecycle/the scheduler is down",
    "pod_lifecycle/the kubelet is down",
    "pod_lifecycle/the quota is full",
    "canary_deployment/the controller manager is down",
    "canary_deployment/kube-proxy is down",
    "cluster_dns/no DNS pod runs",
    "api_crud/the API server is frozen",
    "api_crud/etcd is slow",
    "api_crud/a webhook has no endpoints",
    "namespace_lifecycle/an aggregated API has no backend",
    "node_health/the container runtime is down",
    "service_connectivity/a packet filter cuts the pods off from each other",
    "volume_lifecycle/the storage provisioner is down",
)
"""Faults of components that all probes use: injected for all probes before more specific faults."""
Act = Callable[[], None]
RunOne = Callable[[Scenario], Ended | None]
"""Runs a probe; None if it cannot run at present."""


def run(kubeconfig: Path) -> list[Table]:
    """Record the missing runs within the time limit, then report all recorded runs."""
    ends = time.monotonic() + 60 * float(os.environ.get("KUBEPROBE_DETECTION_MINUTES", "inf"))
    testbed = Testbed(Instance(kubeconfig.parent.name))
    share = Share.of(os.environ.get("KUBEPROBE_DETECTION_SHARE", "1/1"))
    seen = RecordedRuns()
    with _bed(testbed, kubeconfig) as bed, ExitStack() as stack:
        ready = {one.folder: stack.enter_context(one.ready(bed)) for one in SCENARIOS}
        for steps in (_healthy_rounds(bed, ready, seen), _own_faults(bed, ready, seen), _others(bed, ready, seen)):
            for act in share.among(steps):
                if time.monotonic() < ends:
                    _attempt(act)
    if share.total == 1:
        seen.tidy()
    return tables(SCENARIOS, seen)


def _attempt(act: Act) -> None:
    """Run one step. A fault that cannot be injected does not stop the others: the next benchmark tries it again."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - printed, and visible in the table
        PROGRESS.print(f"  fault not injected: {error!r}", style="red")


@dataclass(frozen=True)
class Share:
    """A share of the work: number `number` of `total`."""

    number: int
    total: int

    @classmethod
    def of(cls, text: str) -> "Share":
        """From `2/3`: the second of three."""
        number, _, total = text.partition("/")
        return cls(int(number), int(total))

    def among(self, work: Iterator[Act]) -> Iterator[Act]:
        """The steps that belong to this share."""
        return islice(work, self.number - 1, None, self.total)


@contextmanager
def _bed(testbed: Testbed, kubeconfig: Path) -> Iterator[Bed]:
    tmp = testbed.instance.run / "detection"
    tmp.mkdir(parents=True, exist_ok=True)
    with Api(find_access({"KUBECONFIG": str(kubeconfig)})) as api:
        yield Bed(testbed, api, ProbedCluster(api, kubeconfig), tmp)


def _own_faults(bed: Bed, ready: Ready, seen: RecordedRuns) -> Iterator[Act]:
    """Every fault with the probe that must detect it, alone: its speed must not depend on the others."""
    for scenario in SCENARIOS:
        for fault in scenario.faults:
            yield partial(_try, bed, ready, seen, ScenarioFault(scenario, fault), [scenario])


def _healthy_rounds(bed: Bed, ready: Ready, seen: RecordedRuns) -> Iterator[Act]:
    """Every probe equally often on the healthy cluster."""
    for number in range(-(-HEALTHY_RUNS // len(SCENARIOS))):
        yield partial(_healthy_round, bed, ready, seen, number)


def _healthy_round(bed: Bed, ready: Ready, seen: RecordedRuns, number: int) -> None:
    lacking = [one for one in SCENARIOS if seen.lacks(HEALTHY, one.folder, number + 1)]
    if lacking:
        PROGRESS.print(f"healthy round {number + 1} ...", style="dim")
        _run_all(lacking, partial(_in_a_pod, bed, ready), HEALTHY, seen)


def _others(bed: Bed, ready: Ready, seen: RecordedRuns) -> Iterator[Act]:
    """Every fault with all probes that need not detect it."""
    every = [ScenarioFault(scenario, fault) for scenario in SCENARIOS for fault in scenario.faults]
    for broken in sorted(every, key=lambda one: one.key not in _WIDE):
        if broken.fault.inject is not nothing_broken:  # otherwise no other probe can detect anything
            others = [one for one in SCENARIOS if one is not broken.scenario]
            yield partial(_try, bed, ready, seen, broken, others)


@dataclass(frozen=True)
class ScenarioFault:
    """A fault, and the scenario that it belongs to."""

    scenario: Scenario
    fault: Fault

    @property
    def key(self) -> str:
        """The key of its runs in `seen.jsonl`."""
        return f"{self.scenario.folder}/{self.fault.name}"


def _try(bed: Bed, ready: Ready, seen: RecordedRuns, broken: ScenarioFault, probes: Sequence[Scenario]) -> None:
    """Inject the fault, run those of the probes that have no recorded run with it, and remove the fault."""
    fault, own = broken.fault, broken.scenario
    lacking = [one for one in probes if seen.lacks(broken.key, one.folder)]
    if not lacking:
        return
    PROGRESS.print(f"fault {broken.key}: {len(lacking)} probes ...", style="dim")
    processes = {
        one.folder: bed.cluster.process(one.folder, bed.tmp) for one in lacking if _runs_as_process(one, broken)
    }
    with fault.inject(bed) as found:
        known = {**ready, own.folder: {**ready[own.folder], **fault.parameters, **(found or {})}}

        def run_one(one: Scenario) -> Ended | None:
            if one.folder in processes:
                return processes[one.folder].run(**known[one.folder])
            return None if fault.runs_as == "process" else _in_a_pod(bed, known, one, fault.runs_as)

        runs = _run_all(lacking, run_one, broken.key, seen, fault)
    for run_id in runs:  # after the fault: while it lasts, deletions may fail
        remove_left_by(bed.api, run_id)


def _run_all(
    scenarios: Sequence[Scenario], run_one: RunOne, key: str, seen: RecordedRuns, fault: Fault | None = None
) -> list[str]:
    """Run these probes, several at a time, the longest first; record the results and return the ids of the runs."""
    scenarios = sorted(scenarios, key=lambda one: seen.usual_seconds(one.folder), reverse=True)
    run = partial(_run_or_explain, run_one)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(zip(scenarios, pool.map(run, scenarios), strict=True))
        ids = [result.run for _, result in found if isinstance(result, Ended)]
        doubtful = [one for one, result in found if isinstance(result, Ended) and result.verdict != "pass"]
        if fault is not None and len(scenarios) > 1 and len(doubtful) <= FEW:
            again = dict(zip([one.folder for one in doubtful], pool.map(run, doubtful), strict=True))
            found = [(one, again.get(one.folder, result)) for one, result in found]
            ids += [result.run for result in again.values() if isinstance(result, Ended)]
    for one, result in found:
        named = fault is not None and isinstance(result, Ended) and fault.is_named_in(result)
        seen.add(RecordedRun.of(key, one.folder, result, named=named))
    return ids


def _run_or_explain(run_one: RunOne, one: Scenario) -> Ended | str | None:
    """The result of a probe, or why it could not run."""
    try:
        return run_one(one)
    except Exception as error:  # noqa: BLE001 - that a fault prevents a probe from running is a result
        return f"not run: {error}"


def _in_a_pod(bed: Bed, ready: Ready, one: Scenario, runs_as: str = "pod") -> Ended:
    with bed.for_a_thread() as own:
        return own.cluster.run(one.folder, node=NODE_NAME if runs_as == "pinned" else "", **ready[one.folder])


def _runs_as_process(one: Scenario, broken: ScenarioFault) -> bool:
    """Whether a probe runs as a process: the fault's own as the fault says, others if they need no pod."""
    if one is broken.scenario:
        return broken.fault.runs_as == "process"
    [template] = catalog_of(one.folder).templates.values()
    return not template.pod and one.folder not in _ONLY_IN_PODS
