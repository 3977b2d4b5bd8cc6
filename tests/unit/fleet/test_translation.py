"""Errors of real clusters, and their translation."""

import errno
import ssl
from typing import Any

import aiohttp
import orjson
import pytest

from kubeprobe.fleet.errors import Cause, ClusterError, PermanentError, TemporaryError, cluster_error
from kubeprobe.fleet.translation import RETRY_AFTER_LIMIT_S, from_exception, from_response, from_status


def status(code: int, reason: str, message: str, kind: str = "pods", cause: str = "") -> bytes:
    details: dict[str, Any] = {"kind": kind} | ({"causes": [{"reason": cause}]} if cause else {})
    return orjson.dumps({"kind": "Status", "code": code, "reason": reason, "message": message, "details": details})


RBAC = 'pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group ""'
CHANGED = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your changes'
ANSWERS = [
    pytest.param(
        status(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2'),
        Cause.QUOTA_EXCEEDED,
        id="quota used up",
    ),
    pytest.param(
        status(403, "Forbidden", 'pods "x" is forbidden: status unknown for quota: q, resources: pods'),
        Cause.QUOTA_EXCEEDED,
        id="quota not counted yet",
    ),
    pytest.param(status(409, "Conflict", CHANGED, "resourcequotas"), Cause.CONFLICT, id="quota conflict"),
    pytest.param(
        status(403, "Forbidden", 'pods "x" is forbidden: failed quota: q: must specify limits.cpu for: probe'),
        Cause.ADMISSION_DENIED,
        id="pod without the limits that a quota wants",
    ),
    pytest.param(
        status(400, "", 'admission webhook "w.example.com" denied the request: no such team'),
        Cause.ADMISSION_DENIED,
        id="webhook that chose 400",
    ),
    pytest.param(
        status(403, "Forbidden", 'admission webhook "w.example.com" denied the request: no such team'),
        Cause.ADMISSION_DENIED,
        id="webhook that chose 403",
    ),
    pytest.param(
        status(500, "", 'admission webhook "w.example.com" denied the request without explanation'),
        Cause.ADMISSION_DENIED,
        id="webhook that chose 500",
    ),
    pytest.param(
        status(500, "InternalError", 'Internal error occurred: failed calling webhook "w": connection refused'),
        Cause.SERVER_ERROR,
        id="webhook that cannot be called",
    ),
    pytest.param(
        status(403, "Forbidden", 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'),
        Cause.ADMISSION_DENIED,
        id="pod security",
    ),
    pytest.param(
        status(
            422, "Invalid", "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request"
        ),
        Cause.ADMISSION_DENIED,
        id="admission policy",
    ),
    pytest.param(
        status(403, "Forbidden", 'pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2'),
        Cause.ADMISSION_DENIED,
        id="limit range",
    ),
    pytest.param(status(403, "Forbidden", RBAC + ' in the namespace "ns"'), Cause.FORBIDDEN, id="rbac"),
    pytest.param(
        status(403, "Forbidden", "unable to create new content in namespace ns", cause="NamespaceTerminating"),
        Cause.NAMESPACE_TERMINATING,
        id="namespace terminating",
    ),
    pytest.param(
        status(404, "NotFound", 'namespaces "ns" not found', "namespaces"), Cause.NAMESPACE_MISSING, id="no namespace"
    ),
    pytest.param(status(404, "NotFound", 'pods "x" not found'), Cause.NOT_FOUND, id="no pod"),
    pytest.param(status(401, "Unauthorized", "Unauthorized"), Cause.UNAUTHORIZED, id="unauthorized"),
    pytest.param(status(409, "AlreadyExists", 'pods "x" already exists'), Cause.ALREADY_EXISTS, id="exists"),
    pytest.param(status(409, "Conflict", "the UID in the precondition does not match"), Cause.CONFLICT, id="uid"),
    pytest.param(status(410, "Expired", "too old resource version: 1 (2)"), Cause.GONE, id="expired"),
    pytest.param(status(410, "Gone", "gone"), Cause.GONE, id="gone"),
    pytest.param(
        status(422, "Invalid", 'Pod "x" is invalid: spec.containers: Required value'), Cause.INVALID, id="422"
    ),
    pytest.param(status(400, "BadRequest", "strict decoding error"), Cause.INVALID, id="400"),
    pytest.param(status(429, "TooManyRequests", "too many requests"), Cause.THROTTLED, id="429"),
    pytest.param(status(504, "Timeout", "request did not complete"), Cause.SERVER_ERROR, id="504"),
    pytest.param(status(503, "ServiceUnavailable", "apiserver is shutting down"), Cause.SERVER_ERROR, id="503"),
]
TEMPORARY = {
    Cause.QUOTA_EXCEEDED,
    Cause.CONFLICT,
    Cause.SERVER_ERROR,
    Cause.THROTTLED,
    Cause.GONE,
    Cause.CLUSTER_UNREACHABLE,
    Cause.CREDENTIALS_UNAVAILABLE,
    Cause.NOT_SENT,
}


@pytest.mark.parametrize(("body", "cause"), ANSWERS)
def test_each_refusal_has_its_cause_and_type(body: bytes, cause: Cause) -> None:
    code = orjson.loads(body)["code"]
    error = from_response(code, body, where="cluster c: POST /x")
    assert (error.cause, error.status) == (cause, code)
    assert isinstance(error, TemporaryError if cause in TEMPORARY else PermanentError)
    assert str(error).startswith("cluster c: POST /x: ")


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_is_either_temporary_or_permanent(cause: Cause) -> None:
    assert isinstance(cluster_error(cause, "x"), TemporaryError) is (cause in TEMPORARY)


def test_a_refusal_by_rbac_names_user_verb_resource_and_namespace() -> None:
    error = from_response(403, status(403, "Forbidden", RBAC + ' in the namespace "ns"'))
    assert error.message == "system:serviceaccount:a:b may not create pods in namespace ns; grant it by RBAC"


def test_a_cluster_wide_refusal_by_rbac_names_the_api_group() -> None:
    text = 'User "u" cannot list resource "jobs" in API group "batch" at the cluster scope'
    error = from_response(403, status(403, "Forbidden", text))
    assert "u may not list jobs.batch in the whole cluster" in error.message


def test_a_forbidden_path_is_named() -> None:
    error = from_response(403, status(403, "Forbidden", 'forbidden: User "u" cannot get path "/metrics"'))
    assert (error.cause, "get /metrics" in error.message) == (Cause.FORBIDDEN, True)


@pytest.mark.parametrize("body", [status(429, "TooManyRequests", "slow down"), b"Too many requests"])
def test_retry_after_is_part_of_the_error(body: bytes) -> None:
    error = from_response(429, body, retry_after="7")
    assert (error.cause, error.retry_after_s) == (Cause.THROTTLED, 7.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("300", 300.0),
        ("301", RETRY_AFTER_LIMIT_S),
        ("1000000000000", RETRY_AFTER_LIMIT_S),
        ("9" * 100_000, RETRY_AFTER_LIMIT_S),
        ("1e12", None),
        ("-1", None),
        ("²", None),
        ("", None),
        ("Mon, 23 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_bounded(header: str, seconds: float | None) -> None:
    assert from_response(429, b"", retry_after=header).retry_after_s == seconds


@pytest.mark.parametrize(
    "found",
    [
        {"code": "x", "reason": 1, "message": ["m"], "details": "d"},
        {"code": 10**18, "details": {"causes": "c", "kind": {}}},
        {"code": True, "details": {"causes": [1, None, {"reason": {}}]}},
        {"message": 'User "' * 100_000},
    ],
)
def test_a_status_of_other_types_is_an_error_of_the_cluster(found: dict[str, Any]) -> None:
    for code in (403, 404, 500):
        error = from_response(code, orjson.dumps({"kind": "Status"} | found))
        assert isinstance(error, ClusterError)
        assert len(error.message) <= 1000


def test_a_page_of_a_load_balancer_is_not_a_response_of_the_cluster() -> None:
    error = from_response(404, b"<html><body>\n404 no such site</body></html>")
    assert error.cause is Cause.CLUSTER_UNREACHABLE
    assert "404 no such site" in error.message


@pytest.mark.parametrize(
    ("code", "cause"), [(401, Cause.UNAUTHORIZED), (403, Cause.CLUSTER_UNREACHABLE), (502, Cause.SERVER_ERROR)]
)
def test_responses_without_a_status_are_classified_by_their_code(code: int, cause: Cause) -> None:
    assert from_response(code, b"").cause is cause


def test_a_redirect_is_not_followed_with_our_credentials() -> None:
    assert from_response(302, b"").cause is Cause.CLUSTER_UNREACHABLE


def test_an_error_event_of_a_watch_becomes_its_cause() -> None:
    event = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    assert from_status(event).cause is Cause.GONE


def test_a_long_message_is_truncated() -> None:
    assert len(from_response(422, status(422, "Invalid", "x" * 100_000)).message) == 1000


def _refused() -> aiohttp.ClientConnectorError:
    key: Any = type("Key", (), {"host": "10.0.0.1", "port": 6443, "ssl": True, "is_ssl": True})()
    return aiohttp.ClientConnectorError(key, OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 6443)"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (_refused(), "cannot connect to 10.0.0.1:6443: Connection refused"),
        (aiohttp.ConnectionTimeoutError(), "the connection timed out"),
        (aiohttp.SocketTimeoutError(), "was silent for too long"),
        (TimeoutError(), "no response within the time limit"),
        (aiohttp.ServerDisconnectedError(), "closed before the response"),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] x"), "TLS failed"),
        (aiohttp.ClientPayloadError("cut"), "the connection failed: cut"),
    ],
)
def test_each_connection_error_has_its_message(error: Exception, text: str) -> None:
    found = from_exception(error)
    assert (found.cause, text in found.message) == (Cause.CLUSTER_UNREACHABLE, True), found.message
