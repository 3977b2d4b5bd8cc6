"""Rules: what the `rules` probe checks, declared in the case. Next: `render` passes them to the probe."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from kubeprobe.catalog.cel import MAX_LENGTH, VARIABLES, CelError, check_condition, check_text
from kubeprobe.catalog.model.base import LabelSelector, Name, Spec
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.problems import invalid, nearest_name

MAX_RULES_BYTES = 100_000
"""Linux limits an environment variable to 128 KiB."""

_RESOURCE = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?/[a-z][a-z0-9]*"
_RESOURCE_HELP = "[group/]version/plural, such as apps/v1/deployments or v1/pods"
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)")
_NAMES = """object params now
    all contains double duration endsWith exists exists_one filter format has hasValue indexOf int join lastIndexOf
    lowerAscii map matches orValue replace size split startsWith string substring timestamp trim upperAscii
    """.split()  # noqa: SIM905 - a list this long is read as words
"""Names to suggest for a misspelt one; a part of those that CEL has."""


def _resource(value: str) -> str:
    if not re.fullmatch(_RESOURCE, value):
        raise invalid(f"{value!r} is not a resource", expected=_RESOURCE_HELP)
    return value


def _cel_problem(error: CelError, expected: str) -> Exception:
    unknown = _UNDECLARED.search(str(error))
    return invalid(f"CEL, {error}", expected=expected, near=nearest_name(unknown[1], _NAMES) if unknown else "")


def _condition(value: str) -> str:
    try:
        check_condition(value)
    except CelError as error:
        expected = f"a boolean CEL expression over {', '.join(VARIABLES)}"
        raise _cel_problem(error, expected) from None
    return value


def _message(value: str) -> str:
    if len(value) > MAX_LENGTH:
        raise invalid(f"a message of {len(value)} characters", expected=f"at most {MAX_LENGTH} characters")
    try:
        check_text(value)
    except CelError as error:
        raise _cel_problem(error, "text with CEL expressions between {{ and }}") from None
    return value


Condition = Annotated[str, AfterValidator(_condition)]
Message = Annotated[str, AfterValidator(_message)]


class Rule(Spec):
    """A condition on each object of a resource."""

    resource: Annotated[
        str, AfterValidator(_resource), WithJsonSchema({"type": "string", "pattern": f"^{_RESOURCE}$"})
    ] = Field(description=_RESOURCE_HELP)
    namespace: Name | None = Field(default=None, description="only in this namespace; default: in all")
    label_selector: LabelSelector = Field(default=LabelSelector(), description="only objects with these labels")
    where: Condition = Field(default="true", description="CEL: which objects the rule applies to")
    expect: Condition = Field(description="CEL: the condition that they must meet")
    message: Message = Field(min_length=1, description="error for an object that does not; CEL between {{ and }}")

    @property
    def permission(self) -> Permission:
        """The permission that the probe needs for it."""
        version, _, plural = self.resource.rpartition("/")
        where = {"namespace": self.namespace} if self.namespace else {"scope": "cluster"}
        rule = {"apiGroups": [version.rpartition("/")[0]], "resources": [plural], "verbs": ["list"]}
        return Permission.model_validate({**where, **rule})

    def for_probe(self) -> dict[str, Any]:
        """The rule as the probe reads it: the label selector as text, all else unchanged."""
        plain = self.as_json()
        if selector := str(self.label_selector):
            plain["labelSelector"] = selector
        return plain


def rules_variable(rules: Sequence[Rule]) -> str:
    """The rules as the value of an environment variable. `$` is escaped, as the kubelet would expand `$(...)`."""
    return json.dumps([rule.for_probe() for rule in rules]).replace("$", "\\u0024")


def check_size(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Raises the error of a validator if the rules do not fit into one environment variable."""
    if rules and (size := len(rules_variable(rules))) > MAX_RULES_BYTES:
        raise invalid(
            f"these rules are {size} bytes", expected=f"at most {MAX_RULES_BYTES}; make several cases of them"
        )
    return rules
