"""The faults that virtual-cluster must detect, with the real vcluster and a second real control plane."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from probes._api import Api, ApiError
from testbed import pki
from testbed.extra import ControlPlane
from tests.harness.wait import until
from tests.probes.during_run import on_each
from tests.probes.paths import NAMESPACE, Json, pods_in
from tests.probes.scenario import Bed, Fault
from tests.probes.vcluster import MANAGED_BY, SECRET, SERVER, VirtualCluster, virtual_cluster

FINALIZER = "example.com/backup"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
PODS = pods_in(NAMESPACE)
SOON = {"COUNTERPART_TIMEOUT": "4", "READY_TIMEOUT": "20", "DELETE_TIMEOUT": "6"}
_running: dict[int, VirtualCluster] = {}
"""The bed's virtual cluster, from `healthy`, for faults."""


def _virtual(bed: Bed) -> VirtualCluster:
    return _running[id(bed)]


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A virtual cluster whose pods run on the host, with the Secret that vcluster writes."""
    with virtual_cluster(bed) as found:
        _running[id(bed)] = found
        try:
            yield {"SERVER": SERVER}
        finally:
            _delete_pods(found, bed)


def _delete_pods(found: VirtualCluster, bed: Bed) -> None:
    """Delete leftovers of failed runs, on both sides."""
    with found.api() as api:
        for pod in api.get(pods_in("default"))["items"]:
            _delete_if_exists(api, f"{pods_in('default')}/{pod['metadata']['name']}")
    _delete_counterparts(bed)


def _delete_counterparts(bed: Bed) -> None:
    for pod in bed.api.get(PODS, labelSelector=MANAGED_BY)["items"]:
        path = f"{PODS}/{pod['metadata']['name']}"
        if pod["metadata"].get("finalizers"):
            bed.api.patch(path, {"metadata": {"finalizers": None}})
        _delete_if_exists(bed.api, path)


def _delete_if_exists(api: Api, path: str) -> None:
    try:
        api.delete(path, gracePeriodSeconds=0)
    except ApiError as error:
        if error.status != 404:
            raise


@contextmanager
def kubeconfig_secret(bed: Bed, kubeconfig: Json) -> Iterator[None]:
    """Another kubeconfig instead of vcluster's."""
    path = f"{SECRETS}/{SECRET}"
    before = bed.api.get(path)["data"]
    changed = base64.b64encode(json.dumps(kubeconfig).encode()).decode()
    bed.api.patch(path, {"data": {"config": changed}})
    try:
        yield
    finally:
        bed.api.patch(path, {"data": before})


def _kubeconfig(bed: Bed) -> Json:
    """The kubeconfig that vcluster has written."""
    data = bed.api.get(f"{SECRETS}/{SECRET}")["data"]["config"]
    config: Json = yaml.safe_load(base64.b64decode(data))
    return config


@contextmanager
def frozen(bed: Bed) -> Iterator[None]:
    """vcluster is suspended and keeps its connections."""
    _virtual(bed).pause()
    try:
        yield
    finally:
        _virtual(bed).resume()


@contextmanager
def syncer_frozen(bed: Bed) -> Iterator[dict[str, str]]:
    """No pods are synced to the host, but the API server is reachable without vcluster."""
    with frozen(bed):
        yield {"SERVER": _virtual(bed).plane.server}


@contextmanager
def ended(bed: Bed) -> Iterator[None]:
    """vcluster's process is killed."""
    _virtual(bed).kill()
    try:
        yield
    finally:
        _virtual(bed).start()


@contextmanager
def quota_full(bed: Bed) -> Iterator[None]:
    """A quota of the host that admits the probe's own pod only."""
    quota = {"metadata": {"name": "virtual-full"}, "spec": {"hard": {"requests.cpu": "55m"}}}
    with bed.cluster.having(NAMESPACE, "resourcequotas", quota):
        path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/virtual-full"
        until("the quota to be counted", lambda: bed.api.get(path).get("status", {}).get("hard"))
        yield


@contextmanager
def api_server_down(bed: Bed) -> Iterator[None]:
    """The virtual cluster's API server has ended; vcluster still answers."""
    found = _virtual(bed)
    found.plane.stop("kube-apiserver")
    try:
        yield
    finally:
        found.plane.start("kube-apiserver")
        found.kill()  # restart it, as it would only retry after a delay
        found.start()


@contextmanager
def blocked_by_finalizer(bed: Bed) -> Iterator[None]:
    """A finalizer on the host blocks the deletion of every counterpart."""

    def add_finalizer(api: Api, pod: Json) -> None:
        api.patch(f"{PODS}/{pod['metadata']['name']}", {"metadata": {"finalizers": [FINALIZER]}})

    try:
        with on_each(bed.api, PODS, add_finalizer, labelSelector=MANAGED_BY):
            yield
    finally:
        _delete_counterparts(bed)


@contextmanager
def kubeconfig_expired(bed: Bed) -> Iterator[None]:
    """Its client certificate has expired."""
    config = _kubeconfig(bed)
    certificate = base64.b64encode(_expired(_virtual(bed).plane)).decode()
    config["users"][0]["user"]["client-certificate-data"] = certificate
    with kubeconfig_secret(bed, config):
        yield


@contextmanager
def kubeconfig_of_another(bed: Bed) -> Iterator[None]:
    """It trusts another CA: the virtual cluster was recreated, its Secret was not."""
    config = _kubeconfig(bed)
    other = json.loads(bed.testbed.instance.kubeconfig.read_text())
    authority = other["clusters"][0]["cluster"]["certificate-authority-data"]
    config["clusters"][0]["cluster"]["certificate-authority-data"] = authority
    with kubeconfig_secret(bed, config):
        yield


def _expired(plane: ControlPlane) -> bytes:
    """The administrator's certificate, signed by the same CA, but expired."""
    keys = pki.directory(plane.instance)
    authority = x509.load_pem_x509_certificate((keys / "ca.crt").read_bytes())
    key = serialization.load_pem_private_key((keys / "ca.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    valid = x509.load_pem_x509_certificate((keys / "admin.crt").read_bytes())
    builder = x509.CertificateBuilder(issuer_name=authority.subject, subject_name=valid.subject)
    builder = builder.public_key(valid.public_key()).serial_number(valid.serial_number + 1)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2021, 1, 1, tzinfo=UTC)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


FAULTS = [
    Fault(
        "the syncer is stopped",
        syncer_frozen,
        says=rf"^counterpart: no counterpart in namespace {NAMESPACE} of the host after 4 s: "
        r"no warning event from the syncer$",
        parameters=SOON,
    ),
    Fault(
        "the host's quota is full",
        quota_full,
        says=r"^counterpart: no counterpart in namespace .*event SyncError: .*exceeded quota: virtual-full",
        parameters={**SOON, "COUNTERPART_TIMEOUT": "12"},
    ),
    Fault(
        "the virtual cluster is frozen",
        frozen,
        says=rf"^connect: virtual cluster: no answer from the API server {SERVER} .*timed out",
        parameters=SOON,
    ),
    Fault(
        "the virtual cluster is down",
        ended,
        says=rf"^connect: virtual cluster: no answer from the API server {SERVER} .*refused",
        parameters=SOON,
    ),
    Fault(
        "the virtual API server is down",
        api_server_down,
        says=r"^connect: virtual cluster: 500 : dial tcp 10\.200\.0\.1:16443: connect: connection refused ",
        parameters=SOON,
    ),
    Fault(
        "a finalizer holds the counterpart",
        blocked_by_finalizer,
        says=rf"^counterpart gone: counterpart {NAMESPACE}/virtual-cluster-\w+-x-default-x-virtual not deleted from "
        rf"the host after 6 s: held by the finalizers {FINALIZER}$",
        parameters={**SOON, "COUNTERPART_TIMEOUT": "20"},
    ),
    Fault(
        "the kubeconfig has expired",
        kubeconfig_expired,
        says=rf"^connect: the virtual cluster rejects the kubeconfig of Secret {NAMESPACE}/{SECRET}: ",
        parameters=SOON,
    ),
    Fault(
        "the kubeconfig is another cluster's",
        kubeconfig_of_another,
        says=r"^connect: virtual cluster: no answer from the API server .*certificate verify failed",
        parameters=SOON,
    ),
]
