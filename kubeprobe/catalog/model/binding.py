"""Binding: which cases run on which clusters, and when."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from kubeprobe.catalog.model.base import Document, Duration, LabelSelector, Name, Spec
from kubeprobe.catalog.model.nodes import NodeChoice
from kubeprobe.catalog.problems import wrong
from kubeprobe.catalog.times import check_cron, check_time_zone
from kubeprobe.vocabulary import Concurrency


class ClusterChoice(Spec):
    """The clusters of a binding: those that a selector chooses, or those that are named."""

    selector: LabelSelector | None = Field(default=None, description="by label; {} chooses all clusters")
    names: tuple[Name, ...] | None = Field(default=None, min_length=1, description="by name")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.selector is None) == (self.names is None):
            raise wrong("clusters must be chosen in one way", expected="either selector or names")
        return self

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a cluster of this name and these labels is chosen."""
        if self.selector is not None:
            return self.selector.matches(labels)
        return name in (self.names or ())


class Periodic(Spec):
    """When runs are due. Every cluster has its own moment, spread by a hash: predictable, never random."""

    every: Duration | None = Field(default=None, description="interval; runs are spread over it by a hash")
    offset: Duration | None = Field(
        default=None, description="with every: this much after the interval's start on all clusters, not spread"
    )
    cron: Annotated[str, AfterValidator(check_cron)] | None = Field(
        default=None, description="five fields: minute, hour, day of month, month, day of week"
    )
    time_zone: Annotated[str, AfterValidator(check_time_zone)] = Field(
        default="UTC", description="with cron: its IANA time zone, such as Europe/Berlin"
    )
    spread: Duration | None = Field(
        default=None, description="with cron: runs are spread by a hash over so long after each of its times"
    )

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise wrong("periodic must have one clock", expected="either every or cron")
        if self.cron is None and (self.spread or "time_zone" in self.model_fields_set):
            raise wrong("spread and timeZone go with cron only", expected="cron, or every with an optional offset")
        if self.every is None and self.offset:
            raise wrong("offset goes with every only", expected="cron with an optional spread")
        if self.every and self.offset and self.offset >= self.every:
            raise wrong("offset is not shorter than every", expected="an offset below the interval")
        return self


class OnChange(Spec):
    """Runs at once when a component of a cluster changes."""

    component: Name = Field(description="the component that changed, such as coredns")


class Triggers(Spec):
    """Why runs are opened without anybody asking."""

    periodic: Periodic | None = None
    change: OnChange | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.periodic is None and self.change is None:
            raise wrong("nothing triggers this binding", expected="periodic, change or both")
        return self


class BindingSpec(Spec):
    """Which cases run on which clusters, on which triggers, with which render config."""

    cases: tuple[Name, ...] = Field(min_length=1, description="ProbeCases")
    clusters: ClusterChoice
    nodes: NodeChoice | None = Field(
        default=None, description="runs the cases on nodes, one run for each; left out: once for a cluster, on any node"
    )
    on: Triggers
    render_config: Name | None = Field(default=None, description="RenderConfig for the cases that it is for")
    concurrency: Concurrency = Field(
        default=Concurrency.FORBID,
        description="when a slot is due while an earlier run is open: skip it, run both, or end the earlier one",
    )
    paused: bool = Field(default=False, description="opens no runs while true")

    @field_validator("cases")
    @classmethod
    def _each_once(cls, cases: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({case for case in cases if cases.count(case) > 1})
        if twice:
            raise wrong(f"{twice[0]!r} is listed twice", expected="each case once")
        return cases


class BindingDocument(Document):
    """Binds cases to clusters and triggers."""

    kind: Literal["Binding"]
    spec: BindingSpec
