"""Checks a cluster's objects against the rules of its case, and reports each violation.

The rules come from the ProbeCase's `rules`, by KUBEPROBE_RULES (README.md); its parameters are `params` in them.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kubeprobe_client import give_up, main, measure, report_failure, step

from probes._api import Api, ApiError, PermissionMissing, connect
from probes.rules.rule import Findings, ObjectList, Rule, examine, read_rules

PAGE_SIZE = 250
"""Objects per page, a compromise between memory and number of requests."""

_NOT_PARAMETERS = ("KUBEPROBE_", "KUBERNETES_")


def parameters() -> dict[str, str]:
    """The variable `params` of rules: the environment without KubeProbe's and Kubernetes' variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PARAMETERS)}


def by_list(rules: list[Rule]) -> dict[ObjectList, list[tuple[int, Rule]]]:
    """The numbered rules by their list of objects, so that each list is requested once."""
    lists: dict[ObjectList, list[tuple[int, Rule]]] = {}
    for number, rule in enumerate(rules):
        lists.setdefault(rule.object_list, []).append((number, rule))
    return lists


def inspect_list(
    api: Api, object_list: ObjectList, rules: list[tuple[int, Rule]], others: dict[str, Any]
) -> Iterator[Findings]:
    """The findings of one list, page by page. Raises ApiError."""
    for page in api.pages(object_list.path, PAGE_SIZE, **object_list.query):
        yield examine(object_list, rules, page, others)


def inspect(api: Api, rules: list[Rule]) -> list[Findings]:
    """The findings of all rules, also if some lists fail; raises ApiError."""
    others = {"params": parameters(), "now": datetime.now(UTC)}
    findings: list[Findings] = []
    for object_list, rules_of_list in by_list(rules).items():
        with step(object_list.plural):
            try:
                findings += inspect_list(api, object_list, rules_of_list, others)
            except PermissionMissing as error:
                findings.append(Findings(0, [], [str(error)]))
            except ApiError as error:
                if error.status != 404:
                    raise
                findings.append(Findings(0, [], [f"this cluster does not serve {object_list.resource}: {error}"]))
    return findings


@main
def probe() -> None:
    """Check all objects, then report each violation, in the order of the rules."""
    try:
        rules = read_rules(os.environ.get("KUBEPROBE_RULES", ""))
    except ValueError as error:
        give_up(str(error))
    with connect() as api:
        findings = inspect(api, rules)
    broken = sorted(wrong for found in findings for wrong in found.broken)
    not_evaluated = [why for found in findings for why in found.not_evaluated]
    measure("rules", len(rules))
    measure("objects_checked", sum(found.objects for found in findings))
    measure("broken", len(broken))
    measure("not_evaluated", len(not_evaluated))
    if broken:
        report_failure([wrong for _, wrong in broken] + not_evaluated)
    elif not_evaluated:
        give_up("; ".join(not_evaluated[:10]))
