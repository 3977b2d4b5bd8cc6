"""The cluster's components: the command that starts each, and the port on which it serves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed import configuration, pki
from testbed.instance import (
    API_PORT,
    CLUSTER_DOMAIN,
    NODE_ADDRESS,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
    Instance,
    TestbedError,
)


@dataclass(frozen=True)
class Component:
    """One process of the cluster. `port` is open once it serves; containerd has a socket instead."""

    name: str
    arguments: Callable[[Instance], list[str]]
    port: int | None = None

    def command(self, instance: Instance, binaries: Path) -> list[str]:
        """Return the command that runs it inside the instance's namespace."""
        built = binaries / self.name
        program = str(built) if built.exists() else self.name  # containerd is Debian's
        return instance.in_namespace([program, *self.arguments(instance)])


def named(name: str) -> Component:
    """Find a component by its name, or by its name without `kube-`."""
    for component in COMPONENTS:
        if name in {component.name, component.name.removeprefix("kube-")}:
            return component
    known = ", ".join(component.name for component in COMPONENTS)
    raise TestbedError(f"unknown component {name!r}; expected one of {known}")


def _etcd(instance: Instance) -> list[str]:
    keys = pki.directory(instance)
    return [
        f"--data-dir={instance.cluster / 'etcd'}",
        # A port of its own for the JSON gateway, as etcd advises: on a shared port, watches may starve
        # (etcd-io/etcd#15402). It listens on the node's address, so that probes in pods can reach it.
        "--listen-client-urls=https://127.0.0.1:2379",
        f"--listen-client-http-urls=https://{NODE_ADDRESS}:2379",
        f"--advertise-client-urls=https://{NODE_ADDRESS}:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--client-cert-auth",
        f"--trusted-ca-file={keys / 'ca.crt'}",
        f"--cert-file={keys / 'etcd.crt'}",
        f"--key-file={keys / 'etcd.key'}",
        "--log-level=warn",
        # The page cache survives a killed etcd; only a power failure loses data.
        "--unsafe-no-fsync",
    ]


def _containerd(instance: Instance) -> list[str]:
    return [f"--config={configuration.directory(instance) / 'containerd.toml'}"]


def _apiserver(instance: Instance) -> list[str]:
    keys = pki.directory(instance)
    return [
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        "--etcd-servers=https://127.0.0.1:2379",
        f"--etcd-cafile={keys / 'ca.crt'}",
        f"--etcd-certfile={keys / 'etcd.crt'}",
        f"--etcd-keyfile={keys / 'etcd.key'}",
        f"--kubelet-client-certificate={keys / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'apiserver-kubelet-client.key'}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--allow-privileged",
    ]


def _controller_manager(instance: Instance) -> list[str]:
    keys = pki.directory(instance)
    return [
        *_client(instance, "kube-controller-manager"),
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        "--use-service-account-credentials",
        f"--cluster-cidr={POD_CIDR}",
    ]


def _scheduler(instance: Instance) -> list[str]:
    return _client(instance, "kube-scheduler")


def _client(instance: Instance, name: str) -> list[str]:
    kubeconfig = pki.directory(instance) / f"{name}.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        # With the default limit (20 requests a second), the start of the cluster would mostly be waiting.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        # There is one of each: with an election, a restarted one would wait for its old lease.
        "--leader-elect=false",
    ]


def _kubelet(instance: Instance) -> list[str]:
    return [
        f"--config={configuration.directory(instance) / 'kubelet.json'}",
        f"--kubeconfig={pki.directory(instance) / 'kubelet.kubeconfig'}",
        f"--root-dir={instance.cluster / 'kubelet'}",
        f"--hostname-override={NODE_NAME}",
        # Without a default route, the kubelet cannot detect it.
        f"--node-ip={NODE_ADDRESS}",
    ]


def _kube_proxy(instance: Instance) -> list[str]:
    return [f"--config={configuration.directory(instance) / 'kube-proxy.json'}"]


# In the order in which they are started.
COMPONENTS = (
    Component("etcd", _etcd, 2379),
    Component("containerd", _containerd),
    Component("kube-apiserver", _apiserver, API_PORT),
    Component("kube-controller-manager", _controller_manager, 10257),
    Component("kube-scheduler", _scheduler, 10259),
    Component("kubelet", _kubelet, 10250),
    Component("kube-proxy", _kube_proxy, 10256),
)
