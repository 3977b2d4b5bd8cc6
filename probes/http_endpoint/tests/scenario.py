"""The faults that http-endpoint must detect: test servers on the node, requested from a pod."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from socket import create_server
from threading import Event

from testbed.instance import NODE_ADDRESS
from tests.probes.certificates import Authority
from tests.probes.component_faults import nothing_broken
from tests.probes.http_servers import Request, RequestHandler, Response, http_server
from tests.probes.scenario import Bed, Fault

API = "https://kubernetes.default.svc/readyz"
ROOT = Authority.make("root of the tests")
MIDDLE = Authority.make("intermediate of the tests", ROOT)
SLOW_S = 0.4


def _respond(_request: Request) -> Response:
    return Response(body=b"all is well\n")


def _respond_late(_request: Request) -> Response:
    Event().wait(SLOW_S)
    return Response(body=b"all is well\n")


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A server with a valid certificate; the API server is also requested, as in the case."""
    with server(*MIDDLE.issue((NODE_ADDRESS,)), more=MIDDLE.pem) as parameters:
        yield {**parameters, "URLS": f"{parameters['URLS']} {API}", "EXPECT_STATUS": "200"}


@contextmanager
def server(pem: bytes, key: bytes, more: bytes = b"", answering: RequestHandler = _respond) -> Iterator[dict[str, str]]:
    """A server on the node; the probe's parameters for it."""
    with http_server(answering, NODE_ADDRESS, pem + more + key) as port:
        yield {"URLS": f"https://{NODE_ADDRESS}:{port}/", "CA_PEM": ROOT.pem.decode()}


State = Callable[[Bed], AbstractContextManager[dict[str, str]]]


def _served(
    days: float = 90, name: str = NODE_ADDRESS, *, by: Authority = ROOT, answering: RequestHandler = _respond
) -> State:
    @contextmanager
    def serving(_bed: Bed) -> Iterator[dict[str, str]]:
        with server(*by.issue((name,), days), answering=answering) as parameters:
            yield parameters

    return serving


@contextmanager
def port_closed(_bed: Bed) -> Iterator[dict[str, str]]:
    """A port on which nothing listens."""
    with create_server((NODE_ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
    yield {"URLS": f"http://{NODE_ADDRESS}:{port}/"}


@contextmanager
def silent(_bed: Bed) -> Iterator[dict[str, str]]:
    """A server that accepts connections and sends nothing."""
    with create_server((NODE_ADDRESS, 0)) as listener:
        yield {"URLS": f"http://{NODE_ADDRESS}:{listener.getsockname()[1]}/"}


FAULTS = [
    Fault(
        "the server answers 503",
        _served(answering=lambda _asked: Response(503, b"no healthy upstream")),
        says=r"^check: \S+: status 503 \S+ \S+, expected 200, its body begins 'no healthy upstream'",
    ),
    Fault(
        "the body is unexpected",
        _served(),
        says=r"^check: .* the body lacks 'ready' \(BODY_CONTAINS\); it begins 'all is well'",
        parameters={"BODY_CONTAINS": "ready"},
    ),
    Fault("the certificate has expired", _served(days=-2), says=r"^tls: .* certificate has expired"),
    Fault(
        "the certificate expires soon",
        _served(days=5),
        says=r"^check: .* its certificate CN=web expires in 5\.0 days \(MIN_DAYS is 14\)",
    ),
    Fault(
        "the certificate is for another host",
        _served(name="other.example"),
        says=r"^tls: .* certificate is not valid for '10\.200\.0\.1'.* The server sent CN=web for other\.example",
    ),
    Fault(
        "the server does not send the intermediate certificate",
        _served(by=MIDDLE),
        says=r"^tls: .* the server does not send the intermediate certificate.* issued by CN=intermediate of the tests",
    ),
    Fault(
        "the first byte is late",
        _served(answering=_respond_late),
        says=r"^check: .* first byte took ([4-9]\d\d|\d{4}) ms, expected at most 300 ms",
        parameters={"MAX_FIRST_BYTE_MS": "300"},
    ),
    Fault(
        "the server does not respond",
        silent,
        says=r"^first byte: http://10\.200\.0\.1:\d+/: not finished within 1 s",
        parameters={"TIMEOUT": "1"},
    ),
    Fault("the connection is refused", port_closed, says=r"^connect: .* 10\.200\.0\.1 port \d+: connection refused"),
    Fault(
        "the name does not exist",
        nothing_broken,
        says=r"^resolve: http://nobody\.default\.svc\.cluster\.local/: name \S+ (does not exist|cannot be resolved)",
        parameters={"URLS": "http://nobody.default.svc.cluster.local/"},
    ),
]
