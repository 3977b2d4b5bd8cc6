from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from probes._access import Access
from probes._api import Api
from probes._quantities import quantity
from probes.rate_limit import edges, fairness, quotas
from probes.rate_limit.probe import MAX_ATTEMPTS, Rejections
from tests.probes.scripted import ScriptedApi, scripted_api

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
REQUIRED = quotas.Required(quota=True, limit_range=True, grace=timedelta(minutes=10))
Json = dict[str, Any]


def connected(server: ScriptedApi) -> Api:
    return Api(Access(f"http://127.0.0.1:{server.server_port}"))


def level(name: str, kind: str = "Limited", **limited: int) -> Json:
    return {"metadata": {"name": name}, "spec": {"type": kind, "limited": {"nominalConcurrencyShares": 10, **limited}}}


def schema(name: str, to: str, group: str = "team", precedence: int = 1000) -> Json:
    rules = [{"subjects": [{"kind": "Group", "group": {"name": group}}]}]
    spec = {"priorityLevelConfiguration": {"name": to}, "matchingPrecedence": precedence, "rules": rules}
    return {"metadata": {"name": name}, "spec": spec}


LEVELS = [
    level("exempt", "Exempt"),
    *(level(name) for name in (*fairness.MANDATORY_LEVELS[1:], *fairness.SUGGESTED_LEVELS)),
]
SCHEMAS = [
    schema("exempt", "exempt", "system:masters", 1),
    schema("catch-all", "catch-all", "system:authenticated", 10000),
]


def namespace(*bodies: Json, quota: Json | None = None, age: timedelta = timedelta(days=1)) -> quotas.Namespace:
    found = [{"metadata": {"name": "compute"}, "spec": {"hard": quota}}] if quota is not None else []
    return quotas.Namespace("shop", NOW - age, found, list(bodies))


def limits(name: str, **given: Json) -> Json:
    return {"metadata": {"name": name}, "spec": {"limits": [{"type": "Container", **given}]}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("1Gi", 2**30), ("2", 2), ("1.5k", 1500), ("1e3", 1000), ("3E", 3 * 10**18), ("250u", "0.00025")],
)
def test_quantities_are_parsed_as_numbers(text: str, value: str | int) -> None:
    assert quantity(text) == Decimal(value)


def test_an_invalid_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="'10 GB' is not a quantity"):
        quantity("10 GB")


def test_kubernetes_own_flows_are_not_a_problem() -> None:
    assert fairness.problems(SCHEMAS, LEVELS, set()) == []


def test_a_missing_priority_level_is_named() -> None:
    missing = [body for body in LEVELS if body["metadata"]["name"] != "system"]
    assert fairness.problems(SCHEMAS, missing, set()) == [
        "PriorityLevelConfiguration system: is missing (one of Kubernetes' suggested ones)"
    ]


def test_schemas_of_one_precedence_may_agree_or_have_different_subjects() -> None:
    agree = [schema("a", "system"), schema("b", "system")]
    disjoint = [schema("a", "system", "one"), schema("b", "node-high", "two")]
    assert (
        fairness.problems(SCHEMAS + agree, LEVELS, set()) == fairness.problems(SCHEMAS + disjoint, LEVELS, set()) == []
    )


def test_a_level_without_shares_depends_on_borrowing() -> None:
    wrong = fairness.problems(
        [*SCHEMAS, schema("a", "poor")], [*LEVELS, level("poor", nominalConcurrencyShares=0)], set()
    )
    assert len(wrong) == 1
    assert wrong[0].endswith(
        "has no concurrency shares: the requests of FlowSchemas a depend on concurrency borrowed from other levels"
    )


def test_allowed_alterations_are_not_a_problem() -> None:
    altered = level("system") | {
        "metadata": {"name": "system", "annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}
    }
    levels = [altered if body["metadata"]["name"] == "system" else body for body in LEVELS]
    assert len(fairness.problems(SCHEMAS, levels, set())) == 1
    assert fairness.problems(SCHEMAS, levels, {"system"}) == []


def test_only_new_rejected_requests_in_the_metrics_count() -> None:
    line = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="a",priority_level="b",reason="queue-full"} '
    before, after = fairness.rejected(f"{line}7\n"), fairness.rejected(f"# HELP x\n{line}19\n")
    assert fairness.newly_rejected(before, before, 5) == []
    assert fairness.newly_rejected(before, after, 5) == [
        "PriorityLevelConfiguration b: rejected 12 requests of FlowSchema a within 5.0 s (queue-full)"
    ]


def test_counters_of_another_api_server_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    line = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="a",priority_level="b",reason="queue-full"} '
    first, other = (
        f"process_start_time_seconds {at}\n{line}{n}\n".encode() for at, n in (("1.7e+09", 3), ("1.8e+09", 812))
    )
    later = first.replace(b" 3\n", b" 5\n")
    with scripted_api((200, first), (200, other), (200, later)) as server, connected(server) as api:
        [problem] = Rejections(api, 0.001).problems()
    assert "rejected 2 requests of FlowSchema a" in problem
    with scripted_api((200, first), *[(200, other)] * MAX_ATTEMPTS) as server, connected(server) as api:
        assert Rejections(api, 0.001).problems() == []
    assert "did not answer again" in capsys.readouterr().out


def test_a_quota_with_defaults_below_it_is_not_a_problem() -> None:
    valid = namespace(
        limits("d", default={"cpu": "1"}, defaultRequest={"cpu": "100m"}), quota={"cpu": "4", "pods": "9"}
    )
    assert quotas.problems([valid], REQUIRED, NOW) == []


def test_a_default_limit_is_also_the_default_request() -> None:
    valid = namespace(limits("d", default={"memory": "1Gi"}), quota={"requests.memory": "4Gi"})
    assert quotas.problems([valid], REQUIRED, NOW) == []


def test_a_new_namespace_may_lack_limits() -> None:
    assert quotas.problems([namespace(age=timedelta(minutes=5))], REQUIRED, NOW) == []
    assert len(quotas.problems([namespace(age=timedelta(minutes=11))], REQUIRED, NOW)) == 2


def test_a_default_below_another_ranges_min_is_reported() -> None:
    wrong = quotas.problems(
        [namespace(limits("a", defaultRequest={"cpu": "10m"}), limits("b", min={"cpu": "50m"}), quota={})],
        REQUIRED,
        NOW,
    )
    assert len(wrong) == 1
    assert wrong[0].startswith(
        "namespace shop: LimitRange a has the defaultRequest cpu 10m, below the min 50m of LimitRange b"
    )


def test_a_quota_for_some_pods_only_is_ignored() -> None:
    scoped = {"metadata": {"name": "best"}, "spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}}
    assert quotas.problems([quotas.Namespace("shop", NOW, [scoped], [])], REQUIRED, NOW) == []


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"limit-rps": "10", "limit-rpm": "300"}, []),
        ({"limit-rps": "ten"}, ["ingress shop/front: limit-rps is 'ten', not a positive number: nothing is limited"]),
        (
            {"limit-connections": "5", "limit-allowlist": "10.0.0.0/8, ::/0"},
            ["ingress shop/front: limit-allowlist has ::/0: every client is exempt from the limits"],
        ),
        ({}, ["ingress shop/front: has no limit: expected one of limit-rps, limit-rpm, limit-connections"]),
    ],
)
def test_ingress_limits_are_checked(annotations: Json, expected: list[str]) -> None:
    prefixed = {f"nginx.ingress.kubernetes.io/{key}": value for key, value in annotations.items()}
    body = {
        "metadata": {"name": "front", "namespace": "shop", "annotations": prefixed},
        "spec": {"ingressClassName": "nginx"},
    }
    assert edges.ingress_problems([body], required=True) == expected


def envoy_filter(value: Json) -> Json:
    metadata = {"name": "limit", "namespace": "mesh"}
    return {"metadata": metadata, "spec": {"configPatches": [{"patch": {"value": value}}]}}


ON = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def test_a_local_rate_limit_that_is_on_is_not_a_problem() -> None:
    config = {"token_bucket": {"max_tokens": 10}, "filter_enabled": ON, "filter_enforced": ON}
    value = {"typed_per_filter_config": {"envoy.filters.http.local_ratelimit": {"value": config}}}
    chain = {"name": "envoy.filters.http.local_ratelimit", "typed_config": {"value": {"stat_prefix": "x"}}}
    assert edges.filter_problems([envoy_filter(value), envoy_filter(chain)]) == []


def test_a_local_rate_limit_that_refuses_everything_is_reported() -> None:
    config = {"token_bucket": {}, "filter_enabled": ON, "filter_enforced": ON}
    value = {"name": "envoy.filters.http.local_ratelimit", "typed_config": config}
    assert edges.filter_problems([envoy_filter(value)]) == [
        "EnvoyFilter mesh/limit: local rate limit: token_bucket.max_tokens is 0: every request is refused"
    ]


def test_a_global_rate_limit_without_a_server_is_reported() -> None:
    value = {"name": "envoy.filters.http.ratelimit", "typed_config": {"domain": "d", "rate_limit_service": {}}}
    assert edges.filter_problems([envoy_filter(value)]) == [
        "EnvoyFilter mesh/limit: global rate limit: rate_limit_service has no server: nothing is limited"
    ]
