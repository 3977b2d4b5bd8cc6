"""What certificate-expiry has to find, on the real cluster."""

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.instance import NODE_ADDRESS
from tests.probes.breaking import nothing_broken
from tests.probes.made import ending_in, tls_secret, tls_server
from tests.probes.scenario import Bed, Fault


@contextmanager
def healthy(bed: Bed) -> Iterator[None]:
    """A TLS Secret that is good for long."""
    with bed.cluster.having("default", "secrets", tls_secret("good", *ending_in(300))):
        yield


@contextmanager
def secret_expired(bed: Bed) -> Iterator[None]:
    """A Secret whose certificate is over."""
    with bed.cluster.having("default", "secrets", tls_secret("expired", *ending_in(-2, "old"))):
        yield


@contextmanager
def secret_unreadable(bed: Bed) -> Iterator[None]:
    """A Secret that holds no certificate."""
    with bed.cluster.having("kube-system", "secrets", tls_secret("garbage", b"no certificate", b"no key")):
        yield


@contextmanager
def server_expires_soon(bed: Bed) -> Iterator[dict[str, str]]:
    """A TLS server whose certificate has five days left."""
    with tls_server(bed.tmp, *ending_in(5, "server"), host=NODE_ADDRESS) as port:
        yield {"ENDPOINTS": f"{NODE_ADDRESS}:{port}"}


FAULTS = [
    Fault("a certificate in a Secret is over", secret_expired, says=r"^secret default/expired: CN=old expired on"),
    Fault(
        "a TLS Secret is unreadable", secret_unreadable, says=r"^secret kube-system/garbage: no readable certificate"
    ),
    Fault("a server's certificate ends soon", server_expires_soon, says=r"^endpoint [\d.:]+: CN=server expires on"),
    Fault(
        "the API server's certificate ends too soon",
        nothing_broken,
        says=r"^endpoint 10\.96\.0\.1:443: CN=kube-apiserver \(SAN ",
        parameters={"WARN_DAYS": "100000"},
    ),
]
