"""ProbeCase and RenderConfig: what is tested, and with which values where."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kubeprobe.catalog.model.base import Document, Duration, Environment, LabelSelector, Name, Spec
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.model.rule import Rule, check_size
from kubeprobe.catalog.problems import wrong
from kubeprobe.vocabulary import CaseKind, Severity


class Timeouts(Spec):
    """How long a run may take. What takes longer is `unknown`, with the reason."""

    start: Duration = Field(
        default=timedelta(seconds=60), description="from the pod's creation until the probe's container runs"
    )
    run: Duration = Field(default=timedelta(seconds=90), description="from the container's start until it has ended")


class ProbeCaseSpec(Spec):
    """A test case: a template with parameters, time-outs, and what a fail means to whom."""

    template: Name = Field(description="the ProbeTemplate that it uses")
    kind: CaseKind = Field(description="blackbox: does what a user does; inspection: looks at a known risk")
    description: str = Field(default="", description="what it finds, in a sentence")
    component: Name | None = Field(default=None, description="the component that it watches, such as coredns")
    severity: Severity = Severity.WARNING
    owner: str = Field(default="", description="who is asked when it fails")
    runbook: str | None = Field(default=None, description="address of what to do when it fails")
    parameters: Environment = Field(default={}, description="environment variables of the probe")
    rbac: tuple[Permission, ...] = Field(
        default=(), description="what this case needs beyond its template's: the account gets it too"
    )
    rules: Annotated[tuple[Rule, ...], AfterValidator(check_size)] = Field(
        default=(), description="what the rules probe checks, in CEL: for a case without a program of its own"
    )
    timeouts: Timeouts = Timeouts()
    alert_after: int = Field(default=1, ge=1, le=1000, description="consecutive fails before anybody is told")
    unknown_after: int = Field(default=3, ge=1, le=1000, description="consecutive unknowns before anybody is told")
    retries: int = Field(
        default=1, ge=0, le=10, description="how often an evicted, preempted or lost pod is tried again"
    )


class ProbeCaseDocument(Document):
    """Defines a test case."""

    kind: Literal["ProbeCase"]
    spec: ProbeCaseSpec


class RenderOverride(Spec):
    """Other values for one cluster, or for the clusters that a selector chooses."""

    cluster: Name | None = None
    cluster_selector: LabelSelector | None = None
    values: Environment

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.cluster is None) == (self.cluster_selector is None):
            raise wrong("an override must say for whom it is", expected="either cluster or clusterSelector")
        return self


class RenderConfigSpec(Spec):
    """Values for a case. Most specific wins: values, then overrides by selector in order, then by cluster."""

    for_: Name = Field(alias="for", description="the ProbeCase that the values are for")
    values: Environment = Field(default={}, description="environment variables of the probe")
    overrides: tuple[RenderOverride, ...] = ()

    def values_for(self, cluster: str, labels: Mapping[str, str]) -> dict[str, str]:
        """The values on one cluster."""
        found = dict(self.values)
        for override in self.overrides:
            if override.cluster_selector is not None and override.cluster_selector.matches(labels):
                found.update(override.values)
        for override in self.overrides:
            if override.cluster == cluster:
                found.update(override.values)
        return found


class RenderConfigDocument(Document):
    """Sets a case's values by cluster or cluster label."""

    kind: Literal["RenderConfig"]
    spec: RenderConfigSpec
