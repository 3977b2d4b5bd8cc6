"""Every built-in probe on the real cluster, with only its own rights: it passes, detects its faults, leaves nothing."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.probes.clusters import Ended
from tests.probes.leftovers import remove_left_by
from tests.probes.rights import Right, each_right, grant, revoke, rights_without
from tests.probes.scenario import SCENARIOS, Bed, Fault, Scenario
from tests.probes.selected_faults import selected_faults

pytestmark = pytest.mark.real

AT_ONCE = 6
ALL = [pytest.param(scenario, id=scenario.folder) for scenario in SCENARIOS]
FAULTS = [
    pytest.param(scenario, fault, id=f"{scenario.folder}-{fault.name.replace(' ', '-')}")
    for scenario, fault in selected_faults()
]


@pytest.mark.parametrize("scenario", ALL)
def test_a_probe_passes_with_only_its_rbac_rules_and_leaves_nothing(bed: Bed, scenario: Scenario) -> None:
    with scenario.ready(bed) as parameters:
        ended = bed.cluster.run(scenario.folder, **parameters)
        assert ended.verdict == "pass", (ended.report, ended.log)
        assert ended.report["ok"] is True
        bed.cluster.wait_until_nothing_is_left_of(ended.run)


@pytest.mark.parametrize(("scenario", "fault"), FAULTS)
def test_a_probe_detects_its_fault_and_names_the_cause(bed: Bed, scenario: Scenario, fault: Fault) -> None:
    with scenario.ready(bed) as parameters:
        ended = scenario.run_with(bed, fault, parameters)
    assert ended.verdict == "fail", (ended.report, ended.log)
    assert fault.is_named_in(ended), f"expected /{fault.says}/ in {ended.errors}"
    remove_left_by(bed.api, ended.run)  # leftovers due to the fault; killed probes have their own test


@pytest.mark.parametrize("scenario", ALL)
def test_a_probe_without_one_of_its_rbac_rules_is_unknown_and_names_it(bed: Bed, scenario: Scenario) -> None:
    rights = each_right(scenario.folder)
    with scenario.ready(bed) as parameters, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda right: _run_without(bed, scenario.folder, right, parameters), rights))
    wrong = [
        f"without {right}: {why}" for right, ended in zip(rights, found, strict=True) if (why := _problem(right, ended))
    ]
    assert not wrong, "\n".join(wrong)


def _run_without(bed: Bed, folder: str, right: Right, parameters: dict[str, str]) -> Ended:
    account = f"without-{secrets.token_hex(4)}"
    objects = rights_without(folder, right, account)
    with bed.for_a_thread() as own:
        grant(own.api, objects)
        try:
            name, run = own.cluster.start(folder, account=account, **parameters)
            ended = own.cluster.finish(folder, name, run)
            remove_left_by(own.api, run)  # a probe that may not delete leaves its objects
        finally:
            revoke(own.api, objects)
    return ended


def _problem(right: Right, ended: Ended) -> str:
    """The problem with the verdict of a probe that lacks a right; empty if there is none."""
    if right.optional:
        return "" if ended.verdict == "pass" else f"{ended.verdict}: {ended.errors}, though it is optional"
    reason = ended.report.get("unknown", "")
    if ended.verdict == "unknown" and reason.startswith(f"permission missing: {right}"):
        return ""
    return f"{ended.verdict}: {ended.errors}, expected `unknown: permission missing: {right} ...`"
