"""Rules: what the `rules` probe checks, written in the case instead of a program. Next: `render` hands them over."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

from kubeprobe.catalog.cel import VARIABLES, CelError, check_condition, check_text
from kubeprobe.catalog.model.base import LabelSelector, Name, Spec
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.problems import nearest_name, wrong

MAX_RULES_BYTES = 100_000
"""Linux lets no environment variable be longer than 128 KiB."""

_RESOURCE = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?/[a-z][a-z0-9]*"
_RESOURCE_HELP = "[group/]version/plural, such as apps/v1/deployments or v1/pods"
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)")
_NAMES = """object params now
    all contains double duration endsWith exists exists_one filter format has hasValue indexOf int join lastIndexOf
    lowerAscii map matches orValue replace size split startsWith string substring timestamp trim upperAscii
    """.split()  # noqa: SIM905 - a list this long is read as words
"""What a misspelt name may have meant; not all that CEL knows."""


def _resource(value: str) -> str:
    if not re.fullmatch(_RESOURCE, value):
        raise wrong(f"{value!r} names no resource", expected=_RESOURCE_HELP)
    return value


def _refusal(error: CelError, expected: str) -> Exception:
    unknown = _UNDECLARED.search(str(error))
    return wrong(f"CEL, {error}", expected=expected, near=nearest_name(unknown[1], _NAMES) if unknown else "")


def _condition(value: str) -> str:
    try:
        check_condition(value)
    except CelError as error:
        expected = f"a CEL expression that is true or false; it may use {', '.join(VARIABLES)}"
        raise _refusal(error, expected) from None
    return value


def _message(value: str) -> str:
    try:
        check_text(value)
    except CelError as error:
        raise _refusal(error, "text in which {{ }} encloses CEL expressions") from None
    return value


Condition = Annotated[str, AfterValidator(_condition)]
Message = Annotated[str, AfterValidator(_message)]


class Rule(Spec):
    """What must be true of each object of a resource."""

    resource: Annotated[
        str, AfterValidator(_resource), WithJsonSchema({"type": "string", "pattern": f"^{_RESOURCE}$"})
    ] = Field(description=_RESOURCE_HELP)
    namespace: Name | None = Field(default=None, description="look in this namespace only; left out: in all")
    label_selector: LabelSelector = Field(default=LabelSelector(), description="look at objects with these labels only")
    where: Condition = Field(default="true", description="CEL: for which objects the rule is")
    expect: Condition = Field(description="CEL: what must be true of them")
    message: Message = Field(min_length=1, description="what is said of one that breaks it; {{ }} encloses CEL")

    @property
    def permission(self) -> Permission:
        """What the probe has to be allowed for it."""
        version, _, plural = self.resource.rpartition("/")
        place = {"namespace": self.namespace} if self.namespace else {"scope": "cluster"}
        rule = {"apiGroups": [version.rpartition("/")[0]], "resources": [plural], "verbs": ["list"]}
        return Permission.model_validate({**place, **rule})

    def for_probe(self) -> dict[str, Any]:
        """As the probe reads it: the label selector as text, the rest as it stands."""
        plain = self.as_json()
        if selector := str(self.label_selector):
            plain["labelSelector"] = selector
        return plain


def rules_variable(rules: Sequence[Rule]) -> str:
    """The rules as the value of an environment variable: the kubelet would expand `$(...)`, so no `$` is in it."""
    return json.dumps([rule.for_probe() for rule in rules]).replace("$", "\\u0024")


def check_size(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Refuse more rules than one probe can be given."""
    if rules and (size := len(rules_variable(rules))) > MAX_RULES_BYTES:
        raise wrong(f"these rules are {size} bytes", expected=f"at most {MAX_RULES_BYTES}; make several cases of them")
    return rules
