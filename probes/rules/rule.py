"""A rule: its list of objects, its condition, its expectation, and the message of a violation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probes.rules.expressions import Expression, NotEvaluated, Text, Variables

Json = dict[str, Any]


@dataclass(frozen=True)
class ObjectList:
    """The list of objects of a rule; several rules may share it."""

    resource: str
    """`apps/v1/deployments`, `v1/pods`."""
    namespace: str = ""
    label_selector: str = ""

    @property
    def path(self) -> str:
        """The list's path in the API."""
        group_version, _, plural = self.resource.rpartition("/")
        prefix = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
        return f"{prefix}/namespaces/{self.namespace}/{plural}" if self.namespace else f"{prefix}/{plural}"

    @property
    def query(self) -> dict[str, str]:
        """The list's query."""
        return {"labelSelector": self.label_selector} if self.label_selector else {}

    @property
    def plural(self) -> str:
        """`deployments`."""
        return self.resource.rpartition("/")[2]

    def name_of(self, found: Json) -> str:
        """`deployments shop/web`, `nodes worker-1`."""
        metadata = found["metadata"]
        return " ".join([self.plural, "/".join(filter(None, [metadata.get("namespace"), metadata["name"]]))])


@dataclass(frozen=True)
class Rule:
    """What must be true of each object in a list."""

    object_list: ObjectList
    where: Expression
    expect: Expression
    message: Text

    def violation_in(self, variables: Variables) -> str | None:
        """The violation of `variables["object"]`, or None; raises NotEvaluated if an expression has no value."""
        if not self.where.is_true(variables) or self.expect.is_true(variables):
            return None
        return f"{self.object_list.name_of(variables['object'])}: {self.message.render(variables)}"


@dataclass
class Findings:
    """The findings of one list."""

    objects: int
    broken: list[tuple[int, str]]
    """The number of the rule and its message."""
    not_evaluated: list[str]
    """Rules that could not be evaluated for an object."""


def read_rules(text: str) -> list[Rule]:
    """Parse KUBEPROBE_RULES; raises ValueError if it is invalid."""
    found: list[Json] = json.loads(text or "[]")
    if not found:
        raise ValueError("no rules: expected `rules` in the ProbeCase")
    return [_read(one) for one in found]


def examine(
    object_list: ObjectList, rules: Sequence[tuple[int, Rule]], objects: Sequence[Json], others: Variables
) -> Findings:
    """Check each object against each rule of its list; `others` are the other variables than `object`."""
    findings = Findings(len(objects), [], [])
    for found in objects:
        variables = {**others, "object": found}
        for number, rule in rules:
            try:
                wrong = rule.violation_in(variables)
            except NotEvaluated as error:
                findings.not_evaluated.append(f"{object_list.name_of(found)}: the rule cannot be evaluated: {error}")
                continue
            if wrong is not None:
                findings.broken.append((number, wrong))
    return findings


def _read(one: Json) -> Rule:
    return Rule(
        ObjectList(one["resource"], one.get("namespace", ""), one.get("labelSelector", "")),
        where=Expression(one.get("where", "true")),
        expect=Expression(one["expect"]),
        message=Text(one["message"]),
    )
