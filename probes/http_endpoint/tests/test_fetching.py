"""http-endpoint with real servers on loopback."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.probes.certificates import Authority
from tests.probes.http_servers import Request, RequestHandler, Response, http_server
from tests.probes.paths import CLIENT, REPOSITORY

HOST = "127.0.0.1"
ROOT = Authority.make("root")
MIDDLE = Authority.make("middle", ROOT)


def probe(tmp_path: Path, **env: str) -> tuple[int, str]:
    """Exit code and log of a run."""
    done = subprocess.run(
        [sys.executable, "-m", "probes.http_endpoint.probe"],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{CLIENT}", "KUBEPROBE_RUN_TIMEOUT": "300", **env},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def responds(text: str, status: int = 200, **headers: str) -> RequestHandler:
    return lambda _request: Response(status, text.encode(), headers)


def test_a_correct_response_passes_and_every_phase_is_measured(tmp_path: Path) -> None:
    pem, key = ROOT.issue((HOST,))
    with http_server(responds("all is up"), pem=pem + key) as port:
        code, log = probe(
            tmp_path, URLS=f"https://{HOST}:{port}/x?y=1", CA_PEM=ROOT.pem.decode(), BODY_CONTAINS="is up"
        )
    assert code == 0, log
    for name in ("resolve_ms", "connect_ms", "tls_ms", "first_byte_ms", "body_ms", "total_ms", "certificate_days"):
        assert f"{name} = " in log


def test_method_headers_and_body_arrive(tmp_path: Path) -> None:
    requests: list[Request] = []

    def answer(request: Request) -> Response:
        requests.append(request)
        return Response(201)

    with http_server(answer) as port:
        env = {"METHOD": "post", "HEADERS": "X-Who: probe", "REQUEST_BODY": '{"a": 1}', "EXPECT_STATUS": "2xx"}
        code, log = probe(tmp_path, URLS=f"http://{HOST}:{port}/in?x=1", **env)
    assert code == 0, log
    [request] = requests
    assert (request.method, request.path, request.body) == ("POST", "/in?x=1", b'{"a": 1}')
    assert request.headers["x-who"] == "probe"
    assert request.headers["host"] == f"{HOST}:{port}"


def test_a_missing_intermediate_is_reported_and_a_sent_one_is_used(tmp_path: Path) -> None:
    pem, key = MIDDLE.issue((HOST,))
    for chain, expected in ((pem + MIDDLE.pem + key, 0), (pem + key, 1)):
        with http_server(responds("up"), pem=chain) as port:
            code, log = probe(tmp_path, URLS=f"https://{HOST}:{port}/", CA_PEM=ROOT.pem.decode())
        assert code == expected, log
    assert "unable to get local issuer certificate; the server does not send the intermediate certificate" in log
    assert "The server sent CN=web for 127.0.0.1, issued by CN=middle, valid until " in log


def test_redirects_are_followed_without_credentials_to_another_host(tmp_path: Path) -> None:
    requests: list[Request] = []

    def answer(request: Request) -> Response:
        requests.append(request)
        return Response(200, b"here")

    with (
        http_server(answer) as there,
        http_server(lambda _request: Response(302, headers={"Location": f"http://{HOST}:{there}/there"})) as here,
    ):
        url, headers = f"http://{HOST}:{here}/", "Authorization: Bearer secret\nX-Who: probe"
        code, log = probe(tmp_path, URLS=url, HEADERS=headers, BODY_CONTAINS="here")
        stayed, _log = probe(tmp_path, URLS=url, REDIRECTS="0", EXPECT_STATUS="302")
    assert (code, stayed) == (0, 0), log
    [request] = requests
    assert request.path == "/there"
    assert "authorization" not in request.headers
    assert request.headers["x-who"] == "probe"


def test_too_many_redirects_are_a_failure(tmp_path: Path) -> None:
    with http_server(lambda request: Response(301, headers={"Location": request.path + "x"})) as port:
        code, log = probe(tmp_path, URLS=f"http://{HOST}:{port}/", REDIRECTS="3")
    assert code == 1
    assert f"http://{HOST}:{port}/xxxx: more than 3 redirects" in log


def test_every_url_is_checked_after_a_failure(tmp_path: Path) -> None:
    with http_server(responds("no", 500)) as wrong, http_server(responds("yes")) as right:
        code, log = probe(tmp_path, URLS=f"http://{HOST}:{wrong}/ http://{HOST}:{right}/")
    assert code == 1
    assert f"check: http://{HOST}:{wrong}/: status 500 Internal Server Error, expected 200, its body begins 'no'" in log
    assert f"http://{HOST}:{right}/: 200 OK" in log
    assert "url2_first_byte_ms" in log


def test_a_connection_closed_within_the_body_is_reported(tmp_path: Path) -> None:
    with http_server(lambda _request: Response(200, b"half", {"Content-Length": "8", "Connection": "close"})) as port:
        code, log = probe(tmp_path, URLS=f"http://{HOST}:{port}/")
    assert code == 1
    assert "body: " in log
    assert "connection closed by the server within the body, after 4 bytes" in log


def test_a_server_that_is_not_an_http_server_is_reported(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(120)
        port = listener.getsockname()[1]

        ended = threading.Event()

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                ended.wait(120)  # as such a server does: it waits for the client

        thread = threading.Thread(target=greet)
        thread.start()
        code, log = probe(tmp_path, URLS=f"http://{HOST}:{port}/")
        ended.set()
        thread.join()
    assert code == 1
    assert "no HTTP response: it begins 'SSH-2.0-OpenSSH_9.6'" in log


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({}, "parameter URLS is not set"),
        ({"URLS": "http://a", "METHOD": "CONNECT"}, "parameter METHOD='CONNECT': expected a method"),
        ({"URLS": "http://a", "HEADERS": "A: b\x01"}, "parameter HEADERS: line 1 is not a header"),
        ({"URLS": "web"}, "parameter URLS: 'web': expected a URL"),
        ({"URLS": "http://a", "EXPECT_STATUS": "ok"}, "parameter EXPECT_STATUS: 'ok'"),
        ({"URLS": "http://a", "BODY_MATCHES": "("}, "parameter BODY_MATCHES: invalid regular expression"),
        ({"URLS": "http://a", "CA_FILE": "/nowhere"}, "parameter CA_FILE or CA_PEM has no readable certificate"),
        ({"URLS": "http://a", "CLIENT_CERT_FILE": "/nowhere"}, "parameter CLIENT_CERT_FILE or CLIENT_KEY_FILE cannot"),
    ],
)
def test_an_invalid_parameter_ends_as_unknown(tmp_path: Path, env: dict[str, str], why: str) -> None:
    code, log = probe(tmp_path, **env)
    assert code == 2
    assert f"UNKNOWN: {why}" in log
