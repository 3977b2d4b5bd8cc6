"""certificate-expiry with many Secrets and several problems, on the real cluster."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from testbed.instance import NODE_ADDRESS
from tests.probes.certificates import DAY, certificate, expiring_certificate, tls_secret, tls_server
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real


def test_checked_objects_are_measured(bed: Bed) -> None:
    with bed.cluster.having("default", "secrets", tls_secret("good", *expiring_certificate(300))):
        ended = bed.cluster.run("certificate_expiry")
    assert (ended.code, ended.report["ok"]) == (0, True), ended
    metrics = ended.report["metrics"]
    assert metrics["endpoints_checked"] == 1  # the API server
    assert metrics["kubelets_checked"] == 1
    assert metrics["certificates_checked"] >= 3
    assert metrics["days_to_first_expiry"] > 30


def test_problem_secrets_are_named_most_urgent_first(bed: Bed) -> None:
    now = datetime.now(UTC)
    early = certificate("early", now + 3 * DAY, now + 300 * DAY)
    default = [tls_secret("expired", *expiring_certificate(-2, "old")), tls_secret("good", *expiring_certificate(300))]
    soon = tls_secret("soon", *expiring_certificate(12, "shop", ("shop.example.com",)))
    system = [soon, tls_secret("early", *early)]
    garbage = tls_secret("garbage", b"no certificate", b"no key")
    with (
        bed.cluster.having("default", "secrets", *default),
        bed.cluster.having("kube-system", "secrets", *system),
        bed.cluster.having(NAMESPACE, "secrets", garbage),
    ):
        ended = bed.cluster.run("certificate_expiry")
    assert ended.code == 1
    assert [error.split(": ")[0] for error in ended.errors] == [
        "secret default/expired",
        "secret kubeprobe/garbage",
        "secret kube-system/soon",
        "secret kube-system/early",
    ]
    assert "CN=old expired on" in ended.errors[0]
    assert "CN=shop (SAN shop.example.com) expires on" in ended.errors[2]
    assert "is not valid before" in ended.errors[3]
    assert ended.report["metrics"]["secrets_checked"] == 5


def test_an_unreachable_server_and_an_expiring_certificate_are_distinguished(bed: Bed, tmp_path: Path) -> None:
    with tls_server(tmp_path, *expiring_certificate(5, "server"), host=NODE_ADDRESS) as port:
        ended = bed.cluster.run("certificate_expiry", ENDPOINTS=f"{NODE_ADDRESS}:{port} {NODE_ADDRESS}:9")
    assert ended.code == 1
    assert len(ended.errors) == 2
    assert ended.errors[0].startswith(f"endpoint {NODE_ADDRESS}:9: no TLS handshake: ")
    assert ended.errors[1].startswith(f"endpoint {NODE_ADDRESS}:{port}: CN=server expires on ")


def test_all_pages_of_secrets_are_read(bed: Bed) -> None:
    pem, key = expiring_certificate(300)
    many = [tls_secret(f"many-{number}", pem, key) for number in range(205)]
    with bed.cluster.having("default", "secrets", *many):
        ended = bed.cluster.run("certificate_expiry")
    assert ended.report["metrics"]["secrets_checked"] == 205
