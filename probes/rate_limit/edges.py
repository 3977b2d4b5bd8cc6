"""Limits at the cluster's edge: ingress-nginx's annotations, and rate limit filters of Istio and Envoy.

A limit may be missing, contradict another, or have no effect.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_PREFIX = "nginx.ingress.kubernetes.io/"
LIMITS = ("limit-rps", "limit-rpm", "limit-connections")
"""Annotations by which ingress-nginx limits a client (https://kubernetes.github.io/ingress-nginx/)."""
_EXEMPTING = ("limit-whitelist", "limit-allowlist")
_LOCAL = "envoy.filters.http.local_ratelimit"
_GLOBAL = "envoy.filters.http.ratelimit"


def ingress_problems(ingresses: list[Json], *, required: bool) -> list[str]:
    """Problems of the limits of ingress-nginx's Ingresses; `required`: each must have one."""
    found: list[str] = []
    for ingress in ingresses:
        annotations = ingress["metadata"].get("annotations") or {}
        limits = {name: annotations[_PREFIX + name] for name in LIMITS if _PREFIX + name in annotations}
        label = f"ingress {ingress['metadata']['namespace']}/{ingress['metadata']['name']}"
        found += [f"{label}: {problem}" for problem in _limit_problems(limits, annotations)]
        if required and not limits and _is_nginx(ingress, annotations):
            found.append(f"{label}: has no limit: expected one of {', '.join(LIMITS)}")
    return found


def _limit_problems(limits: dict[str, str], annotations: Json) -> Iterator[str]:
    numbers = {
        name: int(value)
        for name, value in limits.items()
        if value.isdecimal() and value.isascii() and len(value) < 10 and int(value) > 0
    }
    for name, value in limits.items():
        if name not in numbers:
            yield f"{name} is {value!r}, not a positive number: nothing is limited"
    by_second, by_minute = numbers.get("limit-rps"), numbers.get("limit-rpm")
    if by_second and by_minute and by_minute <= by_second:
        yield (
            f"limit-rpm {by_minute} and limit-rps {by_second} contradict each other: "
            "the limit per minute is not above the limit per second"
        )
    for name in _EXEMPTING:
        everybody = [
            block for block in annotations.get(_PREFIX + name, "").split(",") if _has_all_addresses(block.strip())
        ]
        if limits and everybody:
            yield f"{name} has {everybody[0].strip()}: every client is exempt from the limits"


def _has_all_addresses(block: str) -> bool:
    try:
        return ipaddress.ip_network(block, strict=False).prefixlen == 0
    except ValueError:
        return False


def _is_nginx(ingress: Json, annotations: Json) -> bool:
    class_name = ingress["spec"].get("ingressClassName") or annotations.get("kubernetes.io/ingress.class")
    return class_name is None or "nginx" in class_name


def filter_problems(filters: list[Json]) -> list[str]:
    """Problems of the rate limits in Istio's EnvoyFilters."""
    found: list[str] = []
    for body in filters:
        label = f"EnvoyFilter {body['metadata']['namespace']}/{body['metadata']['name']}"
        try:
            found += [f"{label}: {problem}" for problem in _filter_problems(body)]
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # its patches may hold anything
            found.append(f"{label}: its rate limits cannot be parsed: {error}")
    return list(dict.fromkeys(found))


def _filter_problems(body: Json) -> Iterator[str]:
    for patch in body["spec"].get("configPatches") or []:
        for name, config in _configs(patch.get("patch", {}).get("value") or {}):
            yield from _local(config) if name == _LOCAL else _service(config)


def _configs(value: Json) -> Iterator[tuple[str, Json]]:
    """Rate limit filters in a patch: as a separate HTTP filter, or for a route or host."""
    if value.get("name") in (_LOCAL, _GLOBAL):
        yield value["name"], _unwrapped(value.get("typed_config") or {})
    for name, config in (value.get("typed_per_filter_config") or {}).items():
        if name in (_LOCAL, _GLOBAL):
            yield name, _unwrapped(config)


def _unwrapped(config: Json) -> Json:
    """The config without a wrapping TypedStruct."""
    inner = config.get("value")
    return inner if isinstance(inner, dict) else config


def _local(config: Json) -> Iterator[str]:
    bucket = config.get("token_bucket")
    if bucket is not None and int(bucket.get("max_tokens", 0)) == 0:
        yield "local rate limit: token_bucket.max_tokens is 0: every request is refused"
    if bucket is None:
        return  # the filter in the chain; the bucket is configured per route
    for switch in ("filter_enabled", "filter_enforced"):
        percent = (config.get(switch) or {}).get("default_value") or {}
        if int(percent.get("numerator", 0)) == 0:
            yield f"local rate limit: {switch} is 0 % (which is also its default): nothing is limited"


def _service(config: Json) -> Iterator[str]:
    service = (config.get("rate_limit_service") or {}).get("grpc_service") or {}
    if "rate_limit_service" in config and not (service.get("envoy_grpc") or service.get("google_grpc")):
        yield "global rate limit: rate_limit_service has no server: nothing is limited"
    if "domain" in config and not config["domain"]:
        yield "global rate limit: its domain is empty: no rule applies"
