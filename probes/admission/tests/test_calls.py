import json
import socket
import ssl
import tempfile
import threading
from contextlib import suppress
from typing import Any

import pytest

from probes.admission.calls import CallResult, call, response_problem
from probes.admission.webhooks import Webhook
from tests.probes.certificates import Authority, certificate_of_version_4
from tests.probes.http_servers import Request, RequestHandler, Response, http_server

HOST = "127.0.0.1"
ROOT = Authority.make("root")


def responds(**response: Any) -> RequestHandler:
    def answer(request: Request) -> Response:
        uid = json.loads(request.body)["request"]["uid"]
        return Response(body=json.dumps({"response": {"uid": uid, "allowed": True, **response}}).encode())

    return answer


def webhook(port: int, ca: bytes = ROOT.pem, seconds: float = 10) -> Webhook:
    resource = {"group": "", "version": "v1", "resource": "pods", "kind": "Pod"}
    url = f"https://{HOST}:{port}/judge"
    return Webhook("validating", "shop", "guard", True, seconds, ca, None, url, "/judge", "v1", resource)


def call_webhook(
    answering: RequestHandler, *, ca: bytes = ROOT.pem, name: str = HOST, days: float = 90, seconds: float = 10
) -> CallResult:
    with http_server(answering, pem=b"".join(ROOT.issue((name,), days))) as port:
        return call(webhook(port, ca, seconds), HOST, "kubeprobe")


def test_a_webhook_that_responds_has_no_problem_allowed_or_not() -> None:
    found = call_webhook(responds(allowed=False))
    assert found.problem == ""
    assert found.ms > 0
    assert found.days_left is not None
    assert 89 < found.days_left < 90


def test_a_certificate_must_be_signed_by_the_bundle_and_valid_for_the_host() -> None:
    stranger = Authority.make("stranger").pem
    assert (
        "its certificate for 127.0.0.1 is not trusted by its caBundle: unable to get"
        in call_webhook(responds(), ca=stranger).problem
    )
    assert "certificate is not valid for '127.0.0.1'" in call_webhook(responds(), name="other.example").problem
    assert "certificate has expired" in call_webhook(responds(), days=-1).problem


def test_a_call_ends_with_the_webhooks_own_time_out() -> None:
    ended = threading.Event()

    def hang(request: Request) -> Response:
        ended.wait(10)
        return responds()(request)

    result = call_webhook(hang, seconds=0.2)
    ended.set()
    assert result.problem == "no response within its time-out of 0.2 s"


def drip(listener: socket.socket, ended: threading.Event) -> None:
    """Send a response byte by byte, each in time, until the client closes the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(ROOT.issue((HOST,))))
        file.flush()
        context.load_cert_chain(file.name)
    plain, _ = listener.accept()
    with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
        secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not ended.wait(0.05):
            secure.sendall(b" ")


def test_the_time_out_is_for_the_whole_response() -> None:
    ended = threading.Event()
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener, ended))
        thread.start()
        problem = call(webhook(listener.getsockname()[1], seconds=0.5), HOST, "kubeprobe").problem
        ended.set()
        thread.join(10)
    assert problem == "no response within its time-out of 0.5 s"


def test_a_bundle_with_the_intermediate_only_is_trusted() -> None:
    middle = Authority.make("middle", ROOT)
    with http_server(responds(), pem=b"".join(middle.issue((HOST,)))) as port:
        assert call(webhook(port, middle.pem), HOST, "kubeprobe").problem == ""
        assert "unable to get" in call(webhook(port), HOST, "kubeprobe").problem


def test_an_unreadable_certificate_in_the_bundle_hides_no_other() -> None:
    garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert call_webhook(responds(), ca=garbage + certificate_of_version_4("later") + ROOT.pem).problem == ""


def test_a_response_that_is_not_one_to_the_review_is_reported() -> None:
    assert (
        call_webhook(lambda _request: Response(404, b"no such page")).problem
        == "status 404 at /judge, expected 200: no such page"
    )
    assert call_webhook(lambda _request: Response(body=b"hello")).problem == "invalid AdmissionReview: hello"
    assert call_webhook(responds(uid="other")).problem.startswith("response for another request: uid 'other'")


def test_a_webhook_that_requires_the_api_servers_certificate_exists() -> None:
    assert response_problem(401, b"", "u", "/") == response_problem(403, b"", "u", "/") == ""


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"response": []}', b"null", b"\xff", b""])
def test_an_invalid_review_is_a_problem_and_not_an_error(body: bytes) -> None:
    assert response_problem(200, body, "u", "/").startswith("invalid AdmissionReview: ")
