"""The faults that image-pull must detect: a real registry on the node, with users and passwords, and its faults."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from tempfile import TemporaryDirectory

from probes.image_pull.tests.registry import NAME, PORT, plain_http, pull_secret, registry
from testbed.instance import NODE_ADDRESS
from tests.probes.certificates import Authority
from tests.probes.component_faults import nothing_broken
from tests.probes.http_servers import Response, http_server
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed, Fault, State

SECRET, WRONG = "registry-of-the-tests", "registry-of-the-tests-wrong"
SOON = {"PULL_TIMEOUT": "15"}


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A registry with the image in it, and Secrets with the right and a wrong password."""
    with (
        TemporaryDirectory() as folder,
        registry(bed.testbed, Path(folder)),
        plain_http(bed.testbed.instance, PORT),
        bed.cluster.having(NAMESPACE, "secrets", pull_secret(SECRET, PORT), pull_secret(WRONG, PORT, "wrong")),
    ):
        yield {"IMAGE": f"{NODE_ADDRESS}:{PORT}/{NAME}:1", "PULL_SECRET": SECRET}


def _registry_with(response: Response) -> State:
    """Every request gets this response, as from a proxy with limits, or a gateway."""

    @contextmanager
    def answers(bed: Bed) -> Iterator[dict[str, str]]:
        with (
            http_server(lambda _request: response, NODE_ADDRESS) as port,
            plain_http(bed.testbed.instance, port),
        ):
            yield {"IMAGE": f"{NODE_ADDRESS}:{port}/{NAME}:1"}

    return answers


@contextmanager
def untrusted(_bed: Bed) -> Iterator[dict[str, str]]:
    """A registry whose certificate the node does not trust."""
    pem, key = Authority.make("untrusted").issue((NODE_ADDRESS,))
    with http_server(lambda _request: Response(), NODE_ADDRESS, pem + key) as port:
        yield {"IMAGE": f"{NODE_ADDRESS}:{port}/{NAME}:1"}


@contextmanager
def registry_unreachable(_bed: Bed) -> Iterator[dict[str, str]]:
    """Nothing listens on the registry's port."""
    with create_server((NODE_ADDRESS, 0)) as free:
        port = free.getsockname()[1]
    yield {"IMAGE": f"{NODE_ADDRESS}:{port}/{NAME}:1"}


FAULTS = [
    Fault(
        "the registry is unreachable",
        registry_unreachable,
        says=r"^pull: \S+: the registry cannot be reached from the node",
        parameters=SOON,
    ),
    Fault(
        "the password is wrong",
        nothing_broken,
        says=r"^pull: \S+: the registry refuses the credentials.* kubelet on node node: .*401",
        parameters={"PULL_SECRET": WRONG},
    ),
    Fault(
        "the pull secret does not exist",
        nothing_broken,
        says=r"^pull: Unable to retrieve some image pull secrets \(missing\)",
        parameters={"PULL_SECRET": "missing", **SOON},
    ),
    Fault(
        "the tag does not exist",
        nothing_broken,
        says=r"^pull: \S+small:2: the registry has no such image or tag",
        parameters={"IMAGE": f"{NODE_ADDRESS}:{PORT}/{NAME}:2"},
    ),
    Fault(
        "the registry throttles",
        _registry_with(Response(429, b"{}", {"Retry-After": "60"})),
        says=r"^pull: \S+: throttled by the registry \(429\); kubelet on node node: ",
        parameters=SOON,
    ),
    Fault(
        "the registry answers 503",
        _registry_with(Response(503, b"{}")),
        says=r"^pull: \S+: the registry answers with a server error \(5xx\); kubelet on node node: .*503",
        parameters=SOON,
    ),
    Fault(
        "the registry's certificate is not trusted",
        untrusted,
        says=r"^pull: \S+: the node does not trust the registry's certificate",
    ),
]
