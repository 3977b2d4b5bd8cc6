"""Calls every admission webhook directly, then sends the API server samples that must be denied or accepted.

Parameters: DENIED, DENIED_BY, ALLOWED, MAX_MS, MIN_DAYS, ASK_DIRECTLY, IGNORE (README.md).
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kubeprobe_client import CheckFailed, give_up, main, measure, run

from probes._api import Api, ApiError, PermissionMissing, connect
from probes._checks import Checks
from probes._parameters import number, text, words
from probes.admission.calls import CallResult, call
from probes.admission.samples import Answer, Json, dry_run, name_of, parse
from probes.admission.webhooks import Webhook, ca_problem, parse_webhooks, ready_endpoints

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
PAGE_SIZE = 100
SAMPLE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: kubeprobe-admission}
"""


@dataclass(frozen=True)
class Settings:
    """The case's parameters."""

    namespace: str
    """The namespace of samples without one."""
    denied: list[Json]
    denied_by: re.Pattern[str]
    allowed: list[Json]
    max_ms: float
    min_days: float
    call_directly: bool
    ignored: frozenset[str]

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        try:
            denied_by = re.compile(text("DENIED_BY", ""))
        except re.error as error:
            give_up(f"parameter DENIED_BY: invalid regular expression: {error}")
        return cls(
            namespace=own_namespace,
            denied=_samples("DENIED", ""),
            denied_by=denied_by,
            allowed=_samples("ALLOWED", SAMPLE),
            max_ms=number("MAX_MS", 2000),
            min_days=number("MIN_DAYS", 7),
            call_directly=text("ASK_DIRECTLY", "true").lower() != "false",
            ignored=frozenset(words("IGNORE")),
        )


def _samples(parameter: str, default: str) -> list[Json]:
    try:
        return parse(text(parameter, default))
    except ValueError as error:
        give_up(f"parameter {parameter}: {error}")


def list_webhooks(api: Api, settings: Settings) -> tuple[list[Webhook], list[str]]:
    """All webhooks except those of configurations in IGNORE, and an error for each that cannot be parsed."""
    webhooks: list[Webhook] = []
    errors: list[str] = []
    for kind in ("validating", "mutating"):
        for page in api.pages(f"{REGISTRATION}/{kind}webhookconfigurations", PAGE_SIZE):
            found, invalid = parse_webhooks(
                kind, [one for one in page if one["metadata"]["name"] not in settings.ignored]
            )
            webhooks += found
            errors += invalid
    return webhooks, errors


def check_webhook(api: Api, webhook: Webhook, settings: Settings) -> tuple[list[str], float]:
    """All problems of a webhook, and its response time in milliseconds (0: it was not called)."""
    address = webhook.host
    if webhook.service:
        try:
            address = _address(api, webhook.service)
        except PermissionMissing:
            raise
        except CheckFailed as failure:  # an ApiError as well: the other webhooks are still checked
            return list(failure.args), 0.0
    if problem := ca_problem(webhook):
        return [problem], 0.0
    if not settings.call_directly or not address or webhook.is_on_api_server_host:
        return [], 0.0
    result = call(webhook, address, settings.namespace)
    sys.stdout.write(f"{webhook}: {result.problem or 'responded'}, {result.ms:.0f} ms\n")
    return list(_problems_of(result, settings)), result.ms


def _problems_of(result: CallResult, settings: Settings) -> Iterator[str]:
    if result.problem:
        yield result.problem
    elif 0 < settings.max_ms < result.ms:
        yield f"it responded after {result.ms:.0f} ms, expected at most {settings.max_ms:g} ms (MAX_MS)"
    if result.days_left is not None and result.days_left < settings.min_days:
        yield f"its certificate expires in {result.days_left:.1f} days (MIN_DAYS is {settings.min_days:g})"


def _address(api: Api, service: tuple[str, str, int]) -> str:
    """The Service's cluster IP; raises CheckFailed if it has no endpoint. Empty for an ExternalName."""
    namespace, name, port = service
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise CheckFailed(f"its Service {namespace}/{name} does not exist") from error
    spec = found["spec"]
    if spec.get("type") == "ExternalName":
        return ""
    if port not in [one["port"] for one in spec.get("ports") or []]:
        raise CheckFailed(f"its Service {namespace}/{name} has no port {port}")
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slices = api.get(path, labelSelector=f"kubernetes.io/service-name={name}").get("items") or []
    if not ready_endpoints(slices):
        raise CheckFailed(f"its Service {namespace}/{name} has no ready endpoint")
    return str(spec["clusterIP"]) if spec.get("clusterIP") not in (None, "None") else f"{name}.{namespace}.svc"


def denied_sample_problem(sample: Json, answer: Answer, settings: Settings) -> str:
    """The problem with the answer to a sample that must be denied; empty if there is none."""
    if answer.accepted:
        return f"{name_of(sample)} was accepted, expected a denial (DENIED)"
    if answer.failed_call:
        return f"{name_of(sample)} was rejected without a decision: {answer.failed_call}"
    if not settings.denied_by.search(answer.denied_by or answer.message):
        pattern = settings.denied_by.pattern
        return f"{name_of(sample)} was denied, expected a denial by {pattern!r} (DENIED_BY): {answer.message}"
    return ""


def accepted_sample_problem(sample: Json, answer: Answer, settings: Settings) -> str:
    """The problem with the answer to a sample that must be accepted; empty if there is none."""
    if answer.failed_call:
        return f"{name_of(sample)} was rejected: {answer.failed_call}"
    if not answer.accepted:
        by = f" by {answer.denied_by}" if answer.denied_by else ""
        return f"{name_of(sample)} was rejected{by}, expected to be accepted (ALLOWED): {answer.message}"
    if 0 < settings.max_ms < answer.ms:
        most = f"expected at most {settings.max_ms:g} ms (MAX_MS)"
        return f"{name_of(sample)} was accepted after {answer.ms:.0f} ms, {most}"
    return ""


def _check_samples(
    api: Api, samples: list[Json], settings: Settings, problem_of: Callable[[Json, Answer, Settings], str]
) -> tuple[list[str], float]:
    """The problems with the answers, and the slowest one's milliseconds."""
    answers = [(sample, dry_run(api, sample, settings.namespace)) for sample in samples]
    found = [problem for sample, answer in answers if (problem := problem_of(sample, answer, settings))]
    return found, max((answer.ms for _sample, answer in answers), default=0.0)


def _fail_if(problems: list[str]) -> None:
    if problems:
        raise CheckFailed(*problems)


def check_webhooks(api: Api, settings: Settings) -> None:
    """Check every webhook. Raises CheckFailed with all problems."""
    webhooks, problems = list_webhooks(api, settings)
    # Those that fail closed come first: a truncated report keeps its first errors.
    webhooks.sort(key=lambda one: not one.fails_closed)
    slowest = 0.0
    for webhook in webhooks:
        found, ms = check_webhook(api, webhook, settings)
        problems += [f"{webhook}: {problem}; {webhook.consequence}" for problem in found]
        slowest = max(slowest, ms)
    measure("webhooks", len(webhooks))
    if slowest:
        measure("webhooks_slowest_ms", round(slowest, 1))
    _fail_if(problems)


def check_denied(api: Api, settings: Settings) -> None:
    """Send the samples that must be denied."""
    problems, slowest = _check_samples(api, settings.denied, settings, denied_sample_problem)
    if settings.denied:
        measure("denied_slowest_ms", round(slowest, 1))
    _fail_if(problems)


def check_allowed(api: Api, settings: Settings) -> None:
    """Send the samples that must be accepted."""
    problems, slowest = _check_samples(api, settings.allowed, settings, accepted_sample_problem)
    measure("allowed_slowest_ms", round(slowest, 1))
    _fail_if(problems)


@main
def probe() -> None:
    """Check webhooks, then samples; after a failed step the next one still runs."""
    checks = Checks()
    with connect() as api:
        settings = Settings.from_environment(run().namespace or api.access.namespace)
        for name, action in {"webhooks": check_webhooks, "denied": check_denied, "allowed": check_allowed}.items():
            with checks.check(name):
                action(api, settings)
    checks.report()
