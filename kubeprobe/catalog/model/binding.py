"""Binding: which cases run on which clusters, and when."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from kubeprobe.catalog.model.base import Document, Duration, LabelSelector, Name, Spec
from kubeprobe.catalog.model.nodes import NodeChoice
from kubeprobe.catalog.problems import invalid
from kubeprobe.catalog.times import check_cron, check_time_zone
from kubeprobe.vocabulary import Concurrency


class ClusterChoice(Spec):
    """The clusters of a binding, by label selector or by name."""

    selector: LabelSelector | None = Field(default=None, description="by label; {} selects all clusters")
    names: tuple[Name, ...] | None = Field(default=None, min_length=1, description="by name")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.selector is None) == (self.names is None):
            raise invalid("clusters needs exactly one of selector and names", expected="either selector or names")
        return self

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a cluster with this name and these labels is selected."""
        if self.selector is not None:
            return self.selector.matches(labels)
        return name in (self.names or ())


class Periodic(Spec):
    """When runs are due. The runs of different clusters are spread by a hash: predictable, never random."""

    every: Duration | None = Field(default=None, description="interval; runs are spread over it by a hash")
    offset: Duration | None = Field(
        default=None, description="with every: time after the interval's start, the same on all clusters, not spread"
    )
    cron: Annotated[str, AfterValidator(check_cron)] | None = Field(
        default=None, description="five fields: minute, hour, day of month, month, day of week"
    )
    time_zone: Annotated[str, AfterValidator(check_time_zone)] = Field(
        default="UTC", description="with cron: its IANA time zone, such as Europe/Berlin"
    )
    spread: Duration | None = Field(
        default=None, description="with cron: runs are spread by a hash over this time after each of its times"
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise invalid("periodic needs exactly one of every and cron", expected="either every or cron")
        if self.cron is None and (self.spread or "time_zone" in self.model_fields_set):
            raise invalid("spread and timeZone need cron", expected="cron, or every with an optional offset")
        if self.every is None and self.offset:
            raise invalid("offset needs every", expected="cron with an optional spread")
        if self.every and self.offset and self.offset >= self.every:
            raise invalid("offset is not shorter than every", expected="an offset below the interval")
        return self


class OnChange(Spec):
    """Opens runs at once when a component of a cluster changes."""

    component: Name = Field(description="the component that changed, such as coredns")


class Triggers(Spec):
    """When runs are opened automatically."""

    periodic: Periodic | None = None
    change: OnChange | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.periodic is None and self.change is None:
            raise invalid("this binding has no trigger", expected="periodic, change or both")
        return self


class BindingSpec(Spec):
    """Which cases run on which clusters, on which triggers, with which render config."""

    cases: tuple[Name, ...] = Field(min_length=1, description="ProbeCases")
    clusters: ClusterChoice
    nodes: NodeChoice | None = Field(
        default=None, description="runs the cases on nodes, one run per node; default: one run per cluster, on any node"
    )
    on: Triggers
    render_config: Name | None = Field(default=None, description="RenderConfig to use for its case")
    concurrency: Concurrency = Field(
        default=Concurrency.FORBID,
        description="if a slot is due while an earlier run is open: skip it, run both, or end the earlier run",
    )
    paused: bool = Field(default=False, description="no runs are opened while true")

    @field_validator("cases")
    @classmethod
    def _each_once(cls, cases: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted(case for case, count in Counter(cases).items() if count > 1)
        if twice:
            raise invalid(f"{twice[0]!r} is listed twice", expected="each case once")
        return cases


class BindingDocument(Document):
    """Binds cases to clusters and triggers."""

    kind: Literal["Binding"]
    spec: BindingSpec
