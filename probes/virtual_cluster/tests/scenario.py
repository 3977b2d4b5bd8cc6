"""What virtual-cluster has to find, with a second real API server and a syncer of the tests' own."""

import base64
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from probes._api import Api, ApiError
from testbed import pki
from testbed.extra import ControlPlane
from tests.harness.wait import until
from tests.probes.engines.loop import api_of
from tests.probes.engines.pods import MANAGED_BY
from tests.probes.engines.running import engine
from tests.probes.places import NAMESPACE, pods_in
from tests.probes.scenario import Bed, Fault

SECRET = "vc-virtual"
FINALIZER = "example.com/backup"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
PARAMETERS = {"KUBECONFIG_SECRET": SECRET}
SOON = {"COUNTERPART_TIMEOUT": "4", "READY_TIMEOUT": "20", "DELETE_TIMEOUT": "6"}
_engines: dict[str, Any] = {}
"""The running syncer, so that a fault can do without it; one scenario runs at a time."""


def virtual(bed: Bed) -> ControlPlane:
    """The virtual cluster's control plane. It is left running: the test bed's `down` ends it."""
    return ControlPlane(bed.testbed.instance, "virtual", 0)


def _syncing(bed: Bed, *more: str) -> Any:
    host = str(bed.testbed.instance.kubeconfig)
    return engine("pods", str(virtual(bed).kubeconfig), host, NAMESPACE, *more)


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """A virtual cluster whose pods run on the host, and its kubeconfig in a Secret there."""
    plane = virtual(bed)
    plane.up()
    with ExitStack() as stack:
        stack.enter_context(kubeconfig_secret(bed, plane.kubeconfig.read_text()))
        _engines["syncer"] = stack.enter_context(_syncing(bed))
        with api_of(plane.kubeconfig) as api:
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            until("the default account of the virtual cluster", lambda: _there(api, account), 30)
            stack.callback(_forget_pods, plane.kubeconfig, bed)
            yield PARAMETERS


def _there(api: Api, path: str) -> bool:
    try:
        return bool(api.get(path))
    except ApiError:
        return False


def _forget_pods(kubeconfig: Path, bed: Bed) -> None:
    """Remove what broken runs have left, on both sides."""
    with api_of(kubeconfig) as api:
        for pod in api.get(pods_in("default"))["items"]:
            api.delete(f"{pods_in('default')}/{pod['metadata']['name']}", gracePeriodSeconds=0)
    _forget_counterparts(bed)


def _forget_counterparts(bed: Bed) -> None:
    pods = pods_in(NAMESPACE)
    for pod in bed.api.get(pods, labelSelector=MANAGED_BY)["items"]:
        path = f"{pods}/{pod['metadata']['name']}"
        if pod["metadata"].get("finalizers"):
            bed.api.patch(path, {"metadata": {"finalizers": None}})
        try:
            bed.api.delete(path, gracePeriodSeconds=0)
        except ApiError as error:
            if error.status != 404:
                raise


@contextmanager
def kubeconfig_secret(bed: Bed, kubeconfig: str) -> Iterator[None]:
    """The Secret that a virtual cluster's operator would make; the one there is put back afterwards."""
    data = {"config": base64.b64encode(kubeconfig.encode()).decode()}
    path = f"{SECRETS}/{SECRET}"
    try:
        before = bed.api.get(path)["data"]
    except ApiError:
        before = None
    if before is None:
        bed.api.create(SECRETS, {"metadata": {"name": SECRET}, "data": data})
    else:
        bed.api.patch(path, {"data": data})
    try:
        yield
    finally:
        if before is None:
            bed.api.delete(path)
        else:
            bed.api.patch(path, {"data": before})


@contextmanager
def syncer_frozen(_bed: Bed) -> Iterator[None]:
    """Nobody carries pods to the host."""
    _engines["syncer"].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        _engines["syncer"].send_signal(signal.SIGCONT)


@contextmanager
def quota_full(bed: Bed) -> Iterator[None]:
    """The host has room for the probe's own pod only."""
    quota = {"metadata": {"name": "virtual-full"}, "spec": {"hard": {"requests.cpu": "55m"}}}
    with bed.cluster.having(NAMESPACE, "resourcequotas", quota):
        known = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/virtual-full"
        until("the quota to be counted", lambda: bed.api.get(known).get("status", {}).get("hard"))
        yield


@contextmanager
def api_server_down(bed: Bed) -> Iterator[None]:
    """The virtual cluster's API server has ended."""
    plane = virtual(bed)
    plane.stop("kube-apiserver")
    try:
        yield
    finally:
        plane.start("kube-apiserver")


@contextmanager
def held_by_finalizer(bed: Bed) -> Iterator[None]:
    """Something on the host keeps every counterpart."""
    with syncer_frozen(bed):
        try:
            with _syncing(bed, FINALIZER):
                yield
        finally:
            _forget_counterparts(bed)


@contextmanager
def kubeconfig_expired(bed: Bed) -> Iterator[None]:
    """Its client certificate has run out."""
    plane = virtual(bed)
    config = json.loads(plane.kubeconfig.read_text())
    config["users"][0]["user"]["client-certificate-data"] = base64.b64encode(_expired(plane)).decode()
    with kubeconfig_secret(bed, json.dumps(config)):
        yield


@contextmanager
def kubeconfig_of_another(bed: Bed) -> Iterator[None]:
    """It trusts another authority: the virtual cluster was made anew, its Secret was not."""
    config = json.loads(virtual(bed).kubeconfig.read_text())
    other = json.loads(bed.testbed.instance.kubeconfig.read_text())
    authority = other["clusters"][0]["cluster"]["certificate-authority-data"]
    config["clusters"][0]["cluster"]["certificate-authority-data"] = authority
    with kubeconfig_secret(bed, json.dumps(config)):
        yield


def _expired(plane: ControlPlane) -> bytes:
    """The administrator's certificate, signed anew by the same authority for a year that is over."""
    keys = pki.directory(plane.place)
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
        says=rf"^counterpart: no counterpart in namespace {NAMESPACE} of the host after 4 s: the syncer says nothing$",
        parameters=SOON,
    ),
    Fault(
        "the host's quota is full",
        quota_full,
        says=r"^counterpart: no counterpart in namespace .*event SyncError: .*exceeded quota: virtual-full",
        parameters=SOON,
    ),
    Fault(
        "the virtual API server is down",
        api_server_down,
        says=r"^connect: virtual cluster: no answer from the API server https://10\.200\.0\.1:16443 .*refused",
        parameters=SOON,
    ),
    Fault(
        "a finalizer holds the counterpart",
        held_by_finalizer,
        says=rf"^counterpart gone: counterpart {NAMESPACE}/virtual-cluster-\w+-x-default-x-virtual not gone from "
        rf"the host 6 s after the deletion: held by the finalizers {FINALIZER}$",
        parameters=SOON,
    ),
    Fault(
        "the kubeconfig has expired",
        kubeconfig_expired,
        says=rf"^connect: the virtual cluster refuses the kubeconfig of Secret {NAMESPACE}/{SECRET}: ",
        parameters=SOON,
    ),
    Fault(
        "the kubeconfig is another cluster's",
        kubeconfig_of_another,
        says=r"^connect: virtual cluster: no answer from the API server .*certificate verify failed",
        parameters=SOON,
    ),
]
