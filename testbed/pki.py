"""The cluster's certificates and kubeconfigs, new for every cluster."""

import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed.commands import run
from testbed.instance import (
    API_PORT,
    API_SERVICE_ADDRESS,
    CLUSTER_DOMAIN,
    NODE_ADDRESS,
    NODE_NAME,
    Instance,
)

CA_DAYS = 3650
LEAF_DAYS = 365
OPENSSL_CONFIG = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Leaf:
    """A certificate to be signed by the cluster's CA; `subject` in the format of `openssl -subj`."""

    name: str
    subject: str
    alternatives: str = ""


LEAVES = (
    Leaf(
        "apiserver",
        "/CN=kube-apiserver",
        f"DNS:kubernetes, DNS:kubernetes.default, DNS:kubernetes.default.svc, "
        f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}, DNS:localhost, "
        f"IP:{NODE_ADDRESS}, IP:{API_SERVICE_ADDRESS}, IP:127.0.0.1",
    ),
    Leaf("etcd", "/CN=etcd", f"DNS:localhost, IP:127.0.0.1, IP:{NODE_ADDRESS}"),
    Leaf("kubelet-server", f"/O=system:nodes/CN=system:node:{NODE_NAME}", f"DNS:{NODE_NAME}, IP:{NODE_ADDRESS}"),
    Leaf("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Leaf("admin", "/O=system:masters/CN=admin"),
    Leaf("kube-controller-manager", "/CN=system:kube-controller-manager"),
    Leaf("kube-scheduler", "/CN=system:kube-scheduler"),
    Leaf("kube-proxy", "/CN=system:kube-proxy"),
    Leaf("kubelet", f"/O=system:nodes/CN=system:node:{NODE_NAME}"),
)
KUBECONFIGS = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def directory(instance: Instance) -> Path:
    """The directory of certificates, keys and the components' kubeconfigs."""
    return instance.cluster / "pki"


def create(instance: Instance) -> None:
    """Create all certificates, keys and kubeconfigs, unless this cluster has them."""
    final = directory(instance)
    if final.is_dir():
        return
    work = final.with_suffix(".tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, mode=0o700)
    (work / "openssl.cnf").write_text(OPENSSL_CONFIG)
    _certificate(work, "ca", "/CN=kubeprobe-testbed", "authority", ["-days", str(CA_DAYS)])
    for leaf in LEAVES:
        signed = ["-days", str(LEAF_DAYS), "-CA", "ca.crt", "-CAkey", "ca.key"]
        if leaf.alternatives:
            signed += ["-addext", f"subjectAltName = {leaf.alternatives}"]
        _certificate(work, leaf.name, leaf.subject, "leaf", signed)
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "sa.key"], cwd=work)
    run(["openssl", "pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"], cwd=work)
    for name in KUBECONFIGS:
        (work / f"{name}.kubeconfig").write_text(_kubeconfig(work, name))
    instance.kubeconfig.write_text(_kubeconfig(work, "admin"))
    instance.kubeconfig.chmod(0o600)
    work.rename(final)


def _certificate(work: Path, name: str, subject: str, extensions: str, options: list[str]) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", f"{name}.key"]
    out = ["-subj", subject, "-extensions", extensions, "-out", f"{name}.crt"]
    run(["openssl", "req", "-x509", "-config", "openssl.cnf", *key, *out, *options], cwd=work)


def _kubeconfig(work: Path, name: str) -> str:
    def embedded(file: str) -> str:
        return base64.b64encode((work / file).read_bytes()).decode()

    server = f"https://{NODE_ADDRESS}:{API_PORT}"
    user = {"client-certificate-data": embedded(f"{name}.crt"), "client-key-data": embedded(f"{name}.key")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "testbed", "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")}}
        ],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": name}}],
        "current-context": "testbed",
    }
    return json.dumps(document, indent=2) + "\n"
