"""The faults that node-netns-leak must detect, on the real node."""

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from testbed import configuration
from testbed.instance import Instance
from tests.harness.wait import until
from tests.probes.scenario import Bed, Fault

SANDBOX = "5ca1ab1e" * 8
"""A sandbox id that no runtime has assigned."""
SOON = {"GRACE": "10"}
MISSING_POD = "11111111-2222-4333-8444-555555555555"


def _namespaces(instance: Instance) -> Path:
    return instance.run / "containerd/io.containerd.grpc.v1.cri/netns"


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    """The paths of the test bed's node, with its name, as a machine may have several."""
    instance = bed.testbed.instance
    yield {
        "RUNTIME_SOCKET": str(instance.containerd_socket),
        "KUBELET_DIR": str(instance.cluster / "kubelet"),
        "NAMESPACE_DIRS": str(_namespaces(instance)),
        "ADDRESSES": str(instance.run / "cni/*/*"),
        "RESULTS": f"/var/lib/cni/results/{configuration.network_name(instance)}-*-eth0",
    }


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def namespace_leaked(bed: Bed) -> Iterator[None]:
    """A network namespace with a file as the runtime creates them."""
    file = _namespaces(bed.testbed.instance) / f"cni-{uuid4()}"
    name = f"leak-{secrets.token_hex(4)}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    _run("ip", "netns", "add", name)
    try:
        _run("mount", "--bind", f"/run/netns/{name}", str(file))
        _run("ip", "netns", "delete", name)  # the remaining file keeps it alive
        yield
    finally:
        _run("umount", "--lazy", str(file))
        file.unlink()


@contextmanager
def veth_leaked(_bed: Bed) -> Iterator[None]:
    """A pod's interface on the node, whose peer is in no pod."""
    _run("ip", "link", "add", "veth5ca1ab1e", "type", "veth", "peer", "name", "leakpeer")
    try:
        yield
    finally:
        _run("ip", "link", "delete", "veth5ca1ab1e")


@contextmanager
def mount_leaked(bed: Bed) -> Iterator[None]:
    """A volume that is still mounted for a deleted pod."""
    pod = bed.testbed.instance.cluster / "kubelet/pods" / MISSING_POD
    volume = pod / "volumes/kubernetes.io~empty-dir/cache"

    def mounted() -> bool:
        volume.mkdir(parents=True, exist_ok=True)  # again, as the kubelet may have removed it
        return (
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(volume)], capture_output=True, check=False).returncode
            == 0
        )

    until("a mount for a pod that does not exist", mounted, 30)
    try:
        yield
    finally:
        _run("umount", "--lazy", str(volume))
        shutil.rmtree(pod, ignore_errors=True)  # the kubelet may remove it too


@contextmanager
def address_leaked(bed: Bed) -> Iterator[None]:
    """An address that is never released, as after a reboot that lost the sandboxes."""
    instance = bed.testbed.instance
    file = instance.run / "cni" / configuration.network_name(instance) / "10.244.3.250"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{SANDBOX}\r\neth0")
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def result_leaked(bed: Bed) -> Iterator[None]:
    """libcni's result of a sandbox that was not deleted by CNI."""
    name = configuration.network_name(bed.testbed.instance)
    file = Path(f"/var/lib/cni/results/{name}-{SANDBOX}-eth0")
    file.write_text(f'{{"kind": "cniCacheV1", "containerId": "{SANDBOX}", "networkName": "{name}"}}')
    try:
        yield
    finally:
        file.unlink()


FAULTS = [
    Fault(
        "a network namespace was left",
        namespace_leaked,
        says=r"^network namespace /\S+/netns/cni-[0-9a-f-]{36} belongs to no pod$",
        parameters=SOON,
    ),
    Fault(
        "a veth was left",
        veth_leaked,
        says=r"^interface veth5ca1ab1e of the node has no peer in a pod$",
        parameters=SOON,
    ),
    Fault(
        "a mount was left",
        mount_leaked,
        says=rf"^mount /\S+/pods/{MISSING_POD}/volumes/kubernetes.io~empty-dir/cache belongs to no pod of this node$",
        parameters=SOON,
    ),
    Fault(
        "an address was left",
        address_leaked,
        says=r"^address 10\.244\.3\.250 of network \S+ is assigned to sandbox 5ca1ab1e5ca1a, which does not exist",
        parameters=SOON,
    ),
    Fault(
        "a CNI result was left",
        result_leaked,
        says=r"^CNI result /var/lib/cni/results/\S+-eth0 belongs to sandbox 5ca1ab1e5ca1a, which does not exist$",
        parameters=SOON,
    ),
]
