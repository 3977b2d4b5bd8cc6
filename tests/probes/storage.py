"""Dynamic storage for the test bed: a CSI driver with the official provisioner and resizer, as processes.

Each of them can be killed and paused. Real claims get real mounts; the volumes are directories.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed import binaries
from testbed.instance import NODE_NAME
from tests.harness.wait import until
from tests.probes.scenario import Bed

Json = dict[str, Any]
DRIVER = "directory.csi.kubeprobe.io"
CLASS = "kubeprobe-test"
CAPACITY = 10 << 30
COMPONENTS = ("controller", "node", "csi-provisioner", "csi-resizer")


class Storage:
    """The running driver and its controllers."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._folder = bed.tmp / "csi"
        self._kubelet = bed.testbed.instance.cluster / "kubelet"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def volumes(self) -> Path:
        """The directory of the volumes: `ID/data`."""
        return self._folder / "volumes"

    def begin(self) -> None:
        """Start everything, and wait until the node can mount."""
        self._folder.mkdir(exist_ok=True)
        for component in COMPONENTS:
            self.start(component)
        until("the driver to be registered with the kubelet", self._is_registered, 90)

    def start(self, component: str) -> None:
        """Start one process."""
        if component in ("controller", "node"):  # so that its existence means that this process serves
            self._socket(component).unlink(missing_ok=True)
        with (self._folder / f"{component}.log").open("ab") as log:
            command = self._bed.testbed.inside(self._command(component))
            self._processes[component] = subprocess.Popen(command, stdout=log, stderr=log)
        if component in ("controller", "node"):
            until(f"the driver's {component} to serve", self._socket(component).exists, 60)

    def kill(self, component: str) -> None:
        """Kill one process."""
        process = self._processes.pop(component, None)
        if process is not None:
            process.kill()
            process.wait(10)

    def pause(self, component: str) -> None:
        """Suspend one process: it keeps its connections and answers nothing."""
        self._processes[component].send_signal(signal.SIGSTOP)

    def resume(self, component: str) -> None:
        """Resume one process."""
        self._processes[component].send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Stop everything, and delete remaining volumes."""
        for component in reversed(COMPONENTS):
            self.kill(component)
        shutil.rmtree(self._kubelet / "plugins" / DRIVER, ignore_errors=True)
        (self._kubelet / "plugins_registry" / f"{DRIVER}-reg.sock").unlink(missing_ok=True)
        shutil.rmtree(self.volumes, ignore_errors=True)

    def _socket(self, component: str) -> Path:
        return self._kubelet / "plugins" / DRIVER / f"{component}.sock"

    def _command(self, component: str) -> list[str]:
        programs = binaries.CSI.folder()
        if component in ("controller", "node"):
            common = [f"--name={DRIVER}", f"--root={self.volumes}", f"--node={NODE_NAME}", f"--capacity={CAPACITY}"]
            registry = [f"--registration={self._kubelet / 'plugins_registry'}"] if component == "node" else []
            return [str(programs / "csi-directory"), *common, f"--socket={self._socket(component)}", *registry]
        return [
            str(programs / component),
            f"--kubeconfig={self._bed.testbed.instance.kubeconfig}",
            f"--csi-address={self._socket('controller')}",
            "--retry-interval-start=500ms",
            *(["--feature-gates=Topology=false"] if component == "csi-provisioner" else []),
        ]

    def _is_registered(self) -> bool:
        node = self._bed.kubectl("get", "csinode", NODE_NAME, "-o", "json")
        return DRIVER in [driver["name"] for driver in json.loads(node)["spec"].get("drivers") or []]


def storage_class(name: str, provisioner: str, **fields: Any) -> Json:
    """A StorageClass with immediate binding."""
    return {"metadata": {"name": name}, "provisioner": provisioner, "allowVolumeExpansion": True, **fields}


@contextmanager
def storage(bed: Bed) -> Iterator[Storage]:
    """While the cluster provisions volumes of class CLASS."""
    found = Storage(bed)
    driver = {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False, "podInfoOnMount": False}}
    with (
        bed.cluster.having_at("/apis/storage.k8s.io/v1/csidrivers", driver),
        bed.cluster.having_at("/apis/storage.k8s.io/v1/storageclasses", storage_class(CLASS, DRIVER)),
    ):
        try:
            found.begin()
            yield found
        finally:
            found.end()
