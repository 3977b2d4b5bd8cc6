import json
import time
from typing import Any

from probes.admission.asking import CallResult, call, response_problem
from probes.admission.webhooks import Webhook
from tests.probes.certificates import Authority
from tests.probes.http_servers import Request, RequestHandler, Response, http_server

HOST = "127.0.0.1"
ROOT = Authority.make("root")


def says(**response: Any) -> RequestHandler:
    def answer(request: Request) -> Response:
        uid = json.loads(request.body)["request"]["uid"]
        return Response(body=json.dumps({"response": {"uid": uid, "allowed": True, **response}}).encode())

    return answer


def ask_webhook(
    answering: RequestHandler, *, ca: str = ROOT.pem.decode(), name: str = HOST, days: float = 90, seconds: float = 10
) -> CallResult:
    with http_server(answering, pem=b"".join(ROOT.issue((name,), days))) as port:
        about = {"group": "", "version": "v1", "resource": "pods", "kind": "Pod"}
        url = f"https://{HOST}:{port}/judge"
        hook = Webhook("validating", "shop", "guard", True, seconds, ca, None, url, "/judge", "v1", about)
        return call(hook, HOST, "kubeprobe")


def test_a_webhook_that_answers_is_fine_allowed_or_not() -> None:
    found = ask_webhook(says(allowed=False))
    assert found.problem == ""
    assert found.ms > 0
    assert found.days_left is not None
    assert 89 < found.days_left < 90


def test_a_certificate_must_be_signed_by_the_bundle_and_valid_for_the_host() -> None:
    stranger = Authority.make("stranger").pem.decode()
    assert (
        "caBundle does not vouch for its certificate for 127.0.0.1: unable to get"
        in ask_webhook(says(), ca=stranger).problem
    )
    assert "certificate is not valid for '127.0.0.1'" in ask_webhook(says(), name="other.example").problem
    assert "certificate has expired" in ask_webhook(says(), days=-1).problem


def test_a_call_ends_with_the_webhooks_own_time_out() -> None:
    def sleepy(request: Request) -> Response:
        time.sleep(0.7)
        return says()(request)

    assert ask_webhook(sleepy, seconds=0.5).problem == "no answer within its time-out of 0.5 s"


def test_an_answer_to_another_query_is_reported() -> None:
    assert (
        ask_webhook(lambda _request: Response(404, b"no such page")).problem
        == "status 404 at /judge, expected 200: no such page"
    )
    assert ask_webhook(lambda _request: Response(body=b"hello")).problem == "its answer is no AdmissionReview: hello"
    assert ask_webhook(says(uid="other")).problem.startswith("its answer is to another question: uid 'other'")


def test_a_webhook_that_requires_the_api_servers_certificate_exists() -> None:
    assert response_problem(401, b"", "u", "/") == response_problem(403, b"", "u", "/") == ""
