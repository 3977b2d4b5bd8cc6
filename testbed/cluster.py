"""The operations of a test bed: up, down, status, and faults of single components.

Tests use `Testbed`; `python -m testbed` (`__main__`) is its command line.
"""

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries, cgroups, configuration, images, mounts, network, packages, pki, processes
from testbed.commands import run, succeeds
from testbed.components import COMPONENTS, Component, named
from testbed.instance import API_SERVICE_ADDRESS, NODE_NAME, Instance, TestbedError

START_TIMEOUT = 180.0
MANIFESTS = Path(__file__).parent / "manifests"
CONTAINER_LOG_LINKS = Path("/var/log/containers")
CNI_RESULTS = Path("/var/lib/cni/results")


@dataclass(frozen=True)
class Fact:
    """One line of the status: a component or check, whether it is ok, and details."""

    name: str
    ok: bool
    detail: str


class Testbed:
    """One real Kubernetes cluster on this machine."""

    __test__ = False  # not a test class, despite its name

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    def up(self, *, fresh: bool = False) -> None:
        """Start what is not running and wait until the cluster is usable. Resumes after any interruption.

        `fresh` removes an existing cluster first. Raises TestbedError naming the component that failed.
        """
        _require_root()
        if missing := packages.missing():
            raise TestbedError(f"missing packages: {' '.join(missing)}; run `python -m testbed install`")
        archives = images.build_all()
        with self.instance.lock():
            if fresh:
                self._remove_cluster()
                shutil.rmtree(self.instance.state, ignore_errors=True)
            self._prepare()
            self._start(*(named(name) for name in ("etcd", "containerd", "kube-apiserver")))
            self._await(named("containerd"))
            images.import_all(self.instance, archives)
            self._await(named("kube-apiserver"))
            self._start(*COMPONENTS)
            for component in COMPONENTS:
                self._await(component)
            self._await_cluster()

    def down(self) -> None:
        """Stop everything and remove the cluster. Imported images and logs stay for the next `up`."""
        _require_root()
        with self.instance.lock():
            self._remove_cluster()

    def update_images(self) -> list[str]:
        """Build and import the images that have changed; return the references imported."""
        _require_root()
        archives = images.build_all()
        with self.instance.lock():
            if processes.find(self.instance, named("containerd")) is None:
                raise TestbedError(f"test bed {self.instance.name} is not up; run `python -m testbed up`")
            return images.import_all(self.instance, archives)

    def status(self) -> list[Fact]:
        """The state of every component; if all are running, also of API, node and DNS."""
        facts = [self._component_fact(component) for component in COMPONENTS]
        exists = network.exists(self.instance)
        facts.insert(0, Fact("network", exists, str(self.instance.netns) if exists else "no namespace"))
        if all(fact.ok for fact in facts):
            facts += [
                self._query("API", ["get", "--raw=/readyz"]),
                self._query("node", ["wait", f"node/{NODE_NAME}", "--for=condition=Ready", "--timeout=5s"]),
                self._query("DNS", ["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=5s"]),
            ]
        return facts

    def start(self, name: str) -> None:
        """Start a component and wait until it serves."""
        self._start(named(name))
        self._await(named(name))

    def stop(self, name: str) -> None:
        """Stop a component (SIGTERM) and wait until it has ended."""
        processes.stop(self.instance, named(name))

    def kill(self, name: str) -> None:
        """Kill a component (SIGKILL)."""
        processes.kill(self.instance, named(name))

    def pause(self, name: str) -> None:
        """Suspend a component (SIGSTOP): it keeps its connections and answers nothing."""
        self._running(name).send(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Resume a paused component (SIGCONT)."""
        self._running(name).send(signal.SIGCONT)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl as the cluster's administrator; return its output. Raises TestbedError if it fails."""
        program = str(binaries.kubernetes() / "kubectl")
        command = [program, f"--kubeconfig={self.instance.kubeconfig}", *arguments]
        return run(self.instance.in_namespace(command), stdin=stdin, timeout=timeout)

    def inside(self, command: list[str]) -> list[str]:
        """Return the command that runs `command` in the network namespace and cgroup, so that `down` ends it."""
        return cgroups.within(self.instance, self.instance.in_namespace(command))

    def execute(self, command: list[str]) -> None:
        """Execute `command` in the namespace, with kubectl on the PATH and KUBECONFIG set. Does not return."""
        if not network.exists(self.instance):
            raise TestbedError(f"test bed {self.instance.name} is not up; run `python -m testbed up`")
        env = {
            **os.environ,
            "KUBECONFIG": str(self.instance.kubeconfig),
            "PATH": f"{binaries.kubernetes()}:{os.environ.get('PATH', os.defpath)}",
        }
        inside = self.instance.in_namespace(command)
        os.execvpe(inside[0], inside, env)

    def _prepare(self) -> None:
        if not self.instance.cluster.exists():
            shutil.rmtree(self.instance.logs, ignore_errors=True)
        network.create(self.instance)
        cgroups.create(self.instance)
        pki.create(self.instance)
        configuration.write(self.instance)

    def _start(self, *components: Component) -> None:
        for component in components:
            # SIGCONT as well: it may be running, but paused.
            processes.start(self.instance, component, binaries.kubernetes()).send(signal.SIGCONT)

    def _await(self, component: Component) -> None:
        def ready() -> bool:
            if not processes.serves(self.instance, component):
                return False
            return component.name != "kube-apiserver" or self._api_is_ready()

        try:
            processes.wait_until(f"{component.name} serves", ready, START_TIMEOUT)
        except TestbedError as error:
            raise processes.failure(self.instance, component, f"does not serve ({error})") from error

    def _await_cluster(self) -> None:
        self.kubectl("apply", "-f", str(MANIFESTS))
        wait = f"--timeout={START_TIMEOUT:g}s"
        self.kubectl("wait", f"node/{NODE_NAME}", "--for=create", wait, timeout=START_TIMEOUT + 10)
        self.kubectl("wait", f"node/{NODE_NAME}", "--for=condition=Ready", wait, timeout=START_TIMEOUT + 10)
        rollout = ["-n", "kube-system", "rollout", "status", "deployment/coredns", wait]
        self.kubectl(*rollout, timeout=START_TIMEOUT + 10)
        service = [f"--server=https://{API_SERVICE_ADDRESS}", "get", "--raw=/readyz"]
        processes.wait_until(
            "the Service `kubernetes` answers", lambda: self._kubectl_succeeds(*service), START_TIMEOUT
        )

    def _api_is_ready(self) -> bool:
        return self._kubectl_succeeds("get", "--raw=/readyz")

    def _kubectl_succeeds(self, *arguments: str) -> bool:
        try:
            self.kubectl(*arguments, "--request-timeout=5s")
        except TestbedError:
            return False
        return True

    def _running(self, name: str) -> processes.Process:
        process = processes.find(self.instance, named(name))
        if process is None:
            raise TestbedError(f"{named(name).name} is not running; run `python -m testbed start {name}`")
        return process

    def _component_fact(self, component: Component) -> Fact:
        process = processes.find(self.instance, component)
        state = process.state() if process else None
        if process is None or state is None:
            return Fact(component.name, ok=False, detail="not running")
        if state == "T":
            return Fact(component.name, ok=False, detail=f"paused, process {process.pid}")
        if not processes.serves(self.instance, component):
            return Fact(component.name, ok=False, detail=f"does not serve yet, process {process.pid}")
        return Fact(component.name, ok=True, detail=f"process {process.pid}")

    def _query(self, name: str, arguments: list[str]) -> Fact:
        try:
            return Fact(name, ok=True, detail=self.kubectl(*arguments).strip())
        except TestbedError as error:
            return Fact(name, ok=False, detail=str(error))

    def _remove_cluster(self) -> None:
        """Stop everything; containers first, while containerd can still delete them."""
        for component in reversed(COMPONENTS):
            if component.name != "containerd":
                processes.kill(self.instance, component)
        containerd = named("containerd")
        deleted = processes.find(self.instance, containerd) is not None and self._delete_containers()
        processes.stop(self.instance, containerd)
        cgroups.kill(self.instance)
        mounts.unmount(self.instance.run, self.instance.cluster, self.instance.containerd_root)
        self._remove_shim_sockets()
        cgroups.remove(self.instance)
        network.remove(self.instance)
        self._remove_shared_files()
        shutil.rmtree(self.instance.cluster, ignore_errors=True)
        shutil.rmtree(self.instance.run, ignore_errors=True)
        shutil.rmtree(self.instance.state / "pods", ignore_errors=True)
        self.instance.kubeconfig.unlink(missing_ok=True)
        if not deleted:  # its data still lists the killed containers
            shutil.rmtree(self.instance.containerd_root, ignore_errors=True)

    def _delete_containers(self) -> bool:
        """Delete all containers from containerd, so that the next cluster can use its images."""
        cgroups.kill(self.instance, "kubepods")
        ctr = images.ctr(self.instance)
        try:
            containers = run([*ctr, "containers", "list", "--quiet"]).split()
            if containers:
                succeeds([*ctr, "tasks", "delete", "--force", *containers])
                run([*ctr, "containers", "delete", *containers])
        except TestbedError:
            return False
        return True

    def _remove_shim_sockets(self) -> None:
        """Remove the sockets of killed containerd shims, from the directory that all containerds share."""
        for address in (self.instance.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
            Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)

    def _remove_shared_files(self) -> None:
        """Remove the files of kubelet and CNI in directories that cannot be configured."""
        for link in CONTAINER_LOG_LINKS.glob("*.log"):
            if points_below(link, self.instance.state):
                link.unlink()
        prefix = f"{configuration.network_name(self.instance)}-"
        for result in CNI_RESULTS.glob(f"{prefix}*-eth0"):
            sandbox = result.name.removeprefix(prefix).removesuffix("-eth0")
            for cached in CNI_RESULTS.glob(f"*-{sandbox}-*"):
                cached.unlink()


def points_below(link: Path, folder: Path) -> bool:
    """Whether this is a symbolic link to something in the folder. The kubelet of another test bed may remove it."""
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:  # it is another kind of file, or it was removed
        return False


def _require_root() -> None:
    if os.geteuid() != 0:
        raise TestbedError("the test bed starts containers and needs root")
