"""AlertRoute: who is told of which alerts."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kubeprobe.catalog.model.base import Document, LabelSelector, Name, Spec
from kubeprobe.catalog.problems import wrong
from kubeprobe.vocabulary import AlertKind, Severity

HttpUrl = Annotated[str, Field(pattern=r"^https?://\S+$", description="http:// or https:// address")]


class SecretSource(Spec):
    """Where the responder finds a secret, so that the catalog holds none."""

    env: str | None = Field(default=None, description="environment variable of the responder")
    file: str | None = Field(default=None, description="file on the responder's machine")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise wrong("a secret comes from one place", expected="either env or file")
        return self


class AppriseTarget(Spec):
    """Any of Apprise's notification services. An address holds its password: keep it out of the catalog."""

    url: str | None = Field(default=None, min_length=1, description="Apprise address; visible to readers of the YAML")
    url_from: SecretSource | None = Field(default=None, description="where the address is kept instead")

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_from is None):
            raise wrong("an apprise target has one address", expected="either url or urlFrom")
        return self


class WebhookTarget(Spec):
    """A POST with a JSON body, signed (HMAC-SHA256) when there is a secret."""

    url: HttpUrl
    secret_from: SecretSource | None = None


class AlertmanagerTarget(Spec):
    """Alertmanager's API, version 2."""

    url: HttpUrl


class LogTarget(Spec):
    """The responder's own log: nothing to set up."""


class RouteTarget(Spec):
    """One place that messages go to, and of which kind it is."""

    name: Name
    apprise: AppriseTarget | None = None
    webhook: WebhookTarget | None = None
    alertmanager: AlertmanagerTarget | None = None
    log: LogTarget | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = (self.apprise, self.webhook, self.alertmanager, self.log)
        if sum(kind is not None for kind in kinds) != 1:
            raise wrong("a target must be of one kind", expected="one of apprise, webhook, alertmanager and log")
        return self


class RouteMatch(Spec):
    """Which alerts a route is for: all conditions that are given must hold; none given: all alerts."""

    severities: tuple[Severity, ...] | None = Field(default=None, min_length=1)
    cases: tuple[Name, ...] | None = Field(default=None, min_length=1)
    owners: tuple[str, ...] | None = Field(default=None, min_length=1)
    cluster_selector: LabelSelector | None = None
    kinds: tuple[AlertKind, ...] = Field(
        default=(AlertKind.FAIL, AlertKind.UNKNOWN), min_length=1, description="fail, unknown or both"
    )


class AlertRouteSpec(Spec):
    """Who is told of which alerts. Every route that matches is told."""

    match: RouteMatch = RouteMatch()
    targets: tuple[RouteTarget, ...] = Field(min_length=1)

    @field_validator("targets")
    @classmethod
    def _named_once(cls, targets: tuple[RouteTarget, ...]) -> tuple[RouteTarget, ...]:
        names = [target.name for target in targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise wrong(f"two targets are called {twice[0]!r}", expected="a name of its own for each target")
        return targets


class AlertRouteDocument(Document):
    """Tells people of alerts."""

    kind: Literal["AlertRoute"]
    spec: AlertRouteSpec
