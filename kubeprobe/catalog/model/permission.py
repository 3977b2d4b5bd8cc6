"""Permissions of a probe: RBAC rules and their namespaces. Next: `catalog.setup` makes roles of them."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kubeprobe.catalog.model.base import Spec, Text
from kubeprobe.catalog.problems import invalid
from kubeprobe.fleet.labels import name_problem

_VALUE_OF = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def _namespace(value: str) -> str:
    if _VALUE_OF.fullmatch(value) is None and (problem := name_problem(value)):
        raise invalid(problem, expected="a namespace, or $(NAME) for the namespaces in parameter NAME")
    return value


class Permission(Spec):
    """A rule as in a Role (https://kubernetes.io/docs/reference/access-authn-authz/rbac/), and where it applies.

    With `namespace`, in that namespace. Without it, or if the parameter that it names is empty: in the whole cluster
    with `scope: cluster`, else in the namespace that the probe runs in.
    """

    scope: Literal["namespace", "cluster"] = Field(
        default="namespace", description="where it applies without namespace: the probe's own namespace, or the cluster"
    )
    namespace: Annotated[str, AfterValidator(_namespace)] | None = Field(
        default=None, description="another namespace, or $(NAME): the namespaces in parameter NAME, separated by commas"
    )
    api_groups: tuple[Text, ...] = Field(default=("",), description='as in a Role; "" is the core group')
    resources: tuple[Text, ...] = Field(default=(), description="such as pods or pods/log")
    resource_names: tuple[Text, ...] = Field(default=(), description="only objects with these names")
    non_resource_urls: tuple[Text, ...] = Field(
        default=(), alias="nonResourceURLs", description="paths such as /metrics; with scope: cluster"
    )
    verbs: tuple[Text, ...] = Field(min_length=1, description="such as get, list, watch, create, delete")
    optional: bool = Field(
        default=False, description="without it the probe usually still reaches a verdict, but may report less"
    )

    @model_validator(mode="after")
    def _resources_or_urls(self) -> Self:
        if bool(self.resources) == bool(self.non_resource_urls):
            raise invalid(
                "a permission needs exactly one of resources and nonResourceURLs",
                expected="either resources or nonResourceURLs",
            )
        if self.non_resource_urls and (self.scope != "cluster" or self.namespace):
            raise invalid("nonResourceURLs are cluster-scoped", expected="scope: cluster, and no namespace")
        return self

    @property
    def parameter(self) -> str | None:
        """The parameter that lists the namespaces, if any."""
        found = _VALUE_OF.fullmatch(self.namespace or "")
        return found[1] if found else None

    def as_rule(self) -> dict[str, list[str]]:
        """The rule as a Role has it."""
        if self.non_resource_urls:
            return {"nonResourceURLs": list(self.non_resource_urls), "verbs": list(self.verbs)}
        names = {"resourceNames": list(self.resource_names)} if self.resource_names else {}
        return {
            "apiGroups": list(self.api_groups),
            "resources": list(self.resources),
            **names,
            "verbs": list(self.verbs),
        }
