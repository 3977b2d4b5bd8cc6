"""A rule: where it looks, whom it is for, what it expects, and what is said of an object that breaks it.

Next stage: `probe` lists the objects and holds each to its rules.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probes.rules.expressions import Expression, NotEvaluated, Text, Variables

Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """What is listed for a rule; several rules may share it."""

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
    """What must be true of each object at a place."""

    place: Place
    where: Expression
    expect: Expression
    message: Text

    def broken_by(self, variables: Variables) -> str | None:
        """What is wrong with `variables["object"]`, or None; raises NotEvaluated if it cannot be told."""
        if not self.where.holds(variables) or self.expect.holds(variables):
            return None
        return f"{self.place.name_of(variables['object'])}: {self.message.filled(variables)}"


@dataclass
class Findings:
    """What the objects of a place showed."""

    objects: int
    broken: list[tuple[int, str]]
    """Number of the rule and what is said."""
    not_evaluated: list[str]
    """Rules that could not be told for an object."""


def read_rules(text: str) -> list[Rule]:
    """The rules out of KUBEPROBE_RULES; raises ValueError if it holds none."""
    found: list[Json] = json.loads(text or "[]")
    if not found:
        raise ValueError("there is no rule: expected `rules` in the ProbeCase")
    return [_read(one) for one in found]


def examine(place: Place, rules: Sequence[tuple[int, Rule]], objects: Sequence[Json], others: Variables) -> Findings:
    """Hold each object to each of its place's rules; `others` are the variables beside `object`."""
    findings = Findings(len(objects), [], [])
    for found in objects:
        variables = {**others, "object": found}
        for number, rule in rules:
            try:
                wrong = rule.broken_by(variables)
            except NotEvaluated as error:
                findings.not_evaluated.append(f"{place.name_of(found)}: the rule has no answer: {error}")
                continue
            if wrong is not None:
                findings.broken.append((number, wrong))
    return findings


def _read(one: Json) -> Rule:
    return Rule(
        Place(one["resource"], one.get("namespace", ""), one.get("labelSelector", "")),
        where=Expression(one.get("where", "true")),
        expect=Expression(one["expect"]),
        message=Text(one["message"]),
    )
