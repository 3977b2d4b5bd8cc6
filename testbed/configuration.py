"""Configuration files of containerd, CNI, kubelet and kube-proxy. Next: `components`.

Each unusual setting has a comment with its reason; most are for small, confined or cgroup v1 machines.
"""

import json
from pathlib import Path
from string import Template
from typing import Any

from testbed import pki
from testbed.instance import (
    CLUSTER_DOMAIN,
    DNS_SERVICE_ADDRESS,
    NODE_ADDRESS,
    NODE_NAME,
    POD_CIDR,
    POD_SUBNET,
    SERVICE_CIDR,
    Instance,
)

PAUSE_IMAGE = "docker.io/kubeprobe/pause:dev"
CNI_BINARIES = "/usr/lib/cni"

CONTAINERD = Template("""\
version = 2
root = "$root"
state = "$state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "$socket"

[plugins."io.containerd.internal.v1.opt"]
path = "$root/opt"

[plugins."io.containerd.grpc.v1.cri"]
# The full name of an imported image, or containerd would try to pull one.
sandbox_image = "$pause"
# A negative OOM score needs CAP_SYS_RESOURCE, which confined machines lack.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".registry]
# Tests that start a registry configure here how to reach it.
config_path = "$registries"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni_binaries"
conf_dir = "$cni_configuration"
""")


def directory(instance: Instance) -> Path:
    """The directory of the configuration files."""
    return instance.cluster / "configuration"


def registries(instance: Instance) -> Path:
    """The directory of containerd's registry hosts: `HOST:PORT/hosts.toml`, read at each pull."""
    return directory(instance) / "registries"


def network_name(instance: Instance) -> str:
    """The pod network's name, which is in the names of libcni's files."""
    return f"testbed-{instance.name}"


def write(instance: Instance) -> None:
    """Write the files that are missing or have changed."""
    target = directory(instance)
    (target / "cni").mkdir(parents=True, exist_ok=True)
    _write(
        target / "containerd.toml",
        CONTAINERD.substitute(
            root=instance.containerd_root,
            state=instance.run / "containerd",
            socket=instance.containerd_socket,
            pause=PAUSE_IMAGE,
            cni_binaries=CNI_BINARIES,
            cni_configuration=target / "cni",
            registries=registries(instance),
        ),
    )
    _write_json(target / "cni" / "10-testbed.conflist", _pod_network(instance))
    _write_json(target / "kubelet.json", _kubelet(instance))
    _write_json(target / "kube-proxy.json", _kube_proxy(instance))
    # Pods with `dnsPolicy: Default` get this instead of the machine's, whose servers cannot be reached.
    _write(target / "resolv.conf", "")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    _write(path, json.dumps(document, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    # kube-proxy exits when its file is written, changed or not.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _pod_network(instance: Instance) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_SUBNET}]],
        # No default route here either: a connection to an outside address fails at once, not after retransmissions.
        "routes": [{"dst": inside} for inside in (POD_CIDR, SERVICE_CIDR, f"{NODE_ADDRESS}/32")],
        "dataDir": str(instance.run / "cni"),
    }
    # Routed, not bridged: on a bridge, answers from a pod behind a Service would bypass the address
    # translation unless the kernel's br_netfilter is loaded.
    return {"cniVersion": "0.4.0", "name": network_name(instance), "plugins": [{"type": "ptp", "ipam": addresses}]}


def _kubelet(instance: Instance) -> dict[str, Any]:
    certificates = pki.directory(instance)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(certificates / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{instance.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{instance.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(directory(instance) / "resolv.conf"),
        "podLogsDir": str(instance.state / "pods"),
        "volumePluginDir": str(instance.cluster / "volume-plugins"),
        "maxPods": 500,
        "makeIPTablesUtilChains": False,
        # The disk is shared with everything else on the machine: neither evict pods nor remove images over it.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _kube_proxy(instance: Instance) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(pki.directory(instance) / "kube-proxy.kubeconfig")},
        "mode": "nftables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE_NAME,
        "bindAddress": NODE_ADDRESS,
        "oomScoreAdj": 0,
        # These limits are per machine, not per namespace, and cannot be set inside it.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms"},
    }
