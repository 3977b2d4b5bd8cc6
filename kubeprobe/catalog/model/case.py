"""ProbeCase and RenderConfig: test cases, and their values by cluster."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kubeprobe.catalog.model.base import Document, Duration, Environment, LabelSelector, Name, Spec
from kubeprobe.catalog.model.permission import Permission
from kubeprobe.catalog.model.rule import Rule, check_size
from kubeprobe.catalog.problems import invalid
from kubeprobe.vocabulary import CaseKind, Severity


class Timeouts(Spec):
    """How long a run may take. A run that takes longer is `unknown`, with the reason."""

    start: Duration = Field(
        default=timedelta(seconds=60), description="from the pod's creation until the probe's container runs"
    )
    run: Duration = Field(default=timedelta(seconds=90), description="from the container's start until it terminates")


class ProbeCaseSpec(Spec):
    """A test case: a template with parameters, time-outs, severity and owner."""

    template: Name = Field(description="the ProbeTemplate that it uses")
    kind: CaseKind = Field(description="blackbox: does what a user does; inspection: checks a known risk")
    description: str = Field(default="", description="what it finds, in a sentence")
    component: Name | None = Field(default=None, description="the component that it checks, such as coredns")
    severity: Severity = Severity.WARNING
    owner: str = Field(default="", description="team or person responsible when it fails")
    runbook: str | None = Field(default=None, description="URL of the instructions for when it fails")
    parameters: Environment = Field(default={}, description="environment variables of the probe")
    rbac: tuple[Permission, ...] = Field(
        default=(), description="permissions of the service account in addition to the template's"
    )
    rules: Annotated[tuple[Rule, ...], AfterValidator(check_size)] = Field(
        default=(), description="what the rules probe checks, in CEL: for a case without a program of its own"
    )
    timeouts: Timeouts = Timeouts()
    alert_after: int = Field(default=1, ge=1, le=1000, description="consecutive fails before an alert fires")
    unknown_after: int = Field(default=3, ge=1, le=1000, description="consecutive unknowns before an alert fires")
    retries: int = Field(
        default=1, ge=0, le=10, description="how often a run is retried after its pod was evicted, preempted or lost"
    )


class ProbeCaseDocument(Document):
    """Defines a test case."""

    kind: Literal["ProbeCase"]
    spec: ProbeCaseSpec


class RenderOverride(Spec):
    """Values for one cluster, or for the clusters that a selector matches."""

    cluster: Name | None = None
    cluster_selector: LabelSelector | None = None
    values: Environment

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.cluster is None) == (self.cluster_selector is None):
            raise invalid(
                "an override needs exactly one of cluster and clusterSelector",
                expected="either cluster or clusterSelector",
            )
        return self


class RenderConfigSpec(Spec):
    """Values for a case; later ones override earlier ones: values, overrides by selector in order, by cluster."""

    for_: Name = Field(alias="for", description="the ProbeCase that the values are for")
    values: Environment = Field(default={}, description="environment variables of the probe")
    overrides: tuple[RenderOverride, ...] = ()

    def values_for(self, cluster: str, labels: Mapping[str, str]) -> dict[str, str]:
        """The values for one cluster."""
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
