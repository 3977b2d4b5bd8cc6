"""AlertRoute: which alerts are sent to which targets."""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kubeprobe.catalog.model.base import Document, LabelSelector, Name, Spec
from kubeprobe.catalog.problems import invalid
from kubeprobe.vocabulary import AlertKind, Severity

HttpUrl = Annotated[str, Field(pattern=r"^https?://\S+$", description="http:// or https:// URL")]


class SecretSource(Spec):
    """Where the responder reads a secret, so that the catalog does not contain it."""

    env: str | None = Field(default=None, description="environment variable of the responder")
    file: str | None = Field(default=None, description="file on the responder's machine")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise invalid("a secret needs exactly one of env and file", expected="either env or file")
        return self


class AppriseTarget(Spec):
    """Any of Apprise's notification services. A URL contains its password: keep it out of the catalog."""

    url: str | None = Field(default=None, min_length=1, description="Apprise URL; visible to readers of the YAML")
    url_from: SecretSource | None = Field(default=None, description="where the URL is read from instead")

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url is None) == (self.url_from is None):
            raise invalid("an apprise target needs exactly one of url and urlFrom", expected="either url or urlFrom")
        return self


class WebhookTarget(Spec):
    """A POST with a JSON body, signed (HMAC-SHA256) if there is a secret."""

    url: HttpUrl
    secret_from: SecretSource | None = None


class AlertmanagerTarget(Spec):
    """Alertmanager's API, version 2."""

    url: HttpUrl


class LogTarget(Spec):
    """The responder's own log; needs no configuration."""


class RouteTarget(Spec):
    """One recipient of notifications, of exactly one type."""

    name: Name
    apprise: AppriseTarget | None = None
    webhook: WebhookTarget | None = None
    alertmanager: AlertmanagerTarget | None = None
    log: LogTarget | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = (self.apprise, self.webhook, self.alertmanager, self.log)
        if sum(kind is not None for kind in kinds) != 1:
            raise invalid("a target needs exactly one type", expected="one of apprise, webhook, alertmanager and log")
        return self


class RouteMatch(Spec):
    """Which alerts a route matches: all given conditions must match; without any, it matches all alerts."""

    severities: tuple[Severity, ...] | None = Field(default=None, min_length=1)
    cases: tuple[Name, ...] | None = Field(default=None, min_length=1)
    owners: tuple[str, ...] | None = Field(default=None, min_length=1)
    cluster_selector: LabelSelector | None = None
    kinds: tuple[AlertKind, ...] = Field(
        default=(AlertKind.FAIL, AlertKind.UNKNOWN), min_length=1, description="fail, unknown or both"
    )


class AlertRouteSpec(Spec):
    """The targets of the alerts that match. Every matching route is used."""

    match: RouteMatch = RouteMatch()
    targets: tuple[RouteTarget, ...] = Field(min_length=1)

    @field_validator("targets")
    @classmethod
    def _named_once(cls, targets: tuple[RouteTarget, ...]) -> tuple[RouteTarget, ...]:
        names = Counter(target.name for target in targets)
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise invalid(f"two targets are named {twice[0]!r}", expected="a unique name for each target")
        return targets


class AlertRouteDocument(Document):
    """Sends notifications of alerts to targets."""

    kind: Literal["AlertRoute"]
    spec: AlertRouteSpec
