"""Builds Kubernetes, etcd, CoreDNS, the pause program and the programs of some tests with Go.

One program contains every Kubernetes component: `go/main.go` dispatches on the name it is started by, so each
component is a link to it. A build takes minutes, hence the cache.
"""

import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed import cache
from testbed.commands import run
from testbed.instance import TestbedError

SOURCE = Path(__file__).parent / "go"
CSI_TOOLS = {
    "csi-provisioner": "github.com/kubernetes-csi/external-provisioner/v5/cmd/csi-provisioner",
    "csi-resizer": "github.com/kubernetes-csi/external-resizer/cmd/csi-resizer",
}
OCM_DEFINITIONS = {
    "manifestworks.yaml": "work/v1/0000_00_work.open-cluster-management.io_manifestworks.crd.yaml",
    "appliedmanifestworks.yaml": "work/v1/0000_01_work.open-cluster-management.io_appliedmanifestworks.crd.yaml",
}
"""File name in the result -> path in the module `open-cluster-management.io/api`."""
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)


@dataclass(frozen=True)
class Program:
    """The result of building one Go module: one program, or several that belong together."""

    name: str
    source: Path
    build: Callable[["Program", Path], None]
    """Builds it into a directory."""
    announcement: str
    """Printed before a build: the program's name, and how long it takes."""
    more: tuple[str, ...] = ()
    """Other inputs of the build, for the cache key."""

    @property
    def key(self) -> str:
        """The name of its entry in the cache."""
        return f"{self.name}-{platform.machine()}-{cache.digest(self.source, *self.more)}"

    def folder(self) -> Path:
        """The directory with its programs, from the cache; built if missing."""
        return cache.entry(self.key, lambda target: self.build(self, target), f"building {self.announcement} ...")

    def compile(self, package: str, output: Path, link_flags: str = "") -> None:
        """Build one package of the module."""
        if shutil.which("go") is None:
            raise TestbedError(
                "Go is missing: the test bed's programs are built with it (1.25 or newer, https://go.dev)"
            )
        run(
            ["nice", "go", "build", "-trimpath", "-ldflags", f"-s -w {link_flags}", "-o", str(output), package],
            cwd=self.source,
            env={**os.environ, "CGO_ENABLED": "0"},
            timeout=3600,
        )

    def module(self, name: str) -> Path:
        """Go's source directory of a module that this one requires."""
        return Path(run(["go", "list", "-m", "-f", "{{.Dir}}", name], cwd=self.source).strip())


def kubernetes() -> Path:
    """Directory with `kubelet`, `etcd`, `kubectl` and so on; built when it is not in the cache."""
    version, flags = kubernetes_version(), _version_flags()

    def build(program: Program, target: Path) -> None:
        program.compile(".", target / "kubernetes", flags)
        program.compile("./pause", target / "pause")
        for component in COMPONENTS:
            (target / component).symlink_to("kubernetes")

    announcement = f"Kubernetes {version} (5 to 10 minutes, once per machine)"
    return Program(f"kubernetes-{version}", SOURCE, build, announcement, (flags,)).folder()


def coredns() -> Path:
    """Directory with `coredns`; built when it is not in the cache."""
    return _single("coredns", "CoreDNS (1 to 2 minutes, once per machine)").folder()


def build_all() -> None:
    """Build everything that is not in the cache. Inside a test bed's network namespace Go cannot fetch modules."""
    kubernetes()
    coredns()
    build_extras()


def reserve_extras() -> None:
    """Lock the programs that are not built yet: tests that need one wait for `build_extras` of this process."""
    cache.reserve(extra.key for extra in EXTRAS)


def build_extras() -> None:
    """Build the programs of some tests, one after the other, also after one has failed.

    Raises TestbedError with the errors of all that failed.
    """
    failed = []
    for extra in EXTRAS:
        try:
            extra.folder()
        except TestbedError as error:
            failed.append(f"{extra.name}: {error}")
        finally:
            cache.release([extra.key])
    if failed:
        raise TestbedError("\n".join(failed))


def kubernetes_version() -> str:
    """The version of Kubernetes that go.mod pins."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise TestbedError(f"{SOURCE / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


def _version_flags() -> str:
    """Linker flags with the components' version; without, kubelet and kubectl reject "v0.0.0"."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    facts = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitCommit": "testbed"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in facts.items())


def _single(name: str, announcement: str) -> Program:
    """A module with one program, its root package, of the same name."""
    source = Path(__file__).parent / f"go-{name}"
    return Program(name, source, lambda program, target: program.compile(".", target / name), announcement)


def _build_csi(program: Program, target: Path) -> None:
    program.compile(".", target / "csi-directory")
    for name, package in CSI_TOOLS.items():
        program.compile(package, target / name)


def _build_ocm(program: Program, target: Path) -> None:
    program.compile("open-cluster-management.io/ocm/cmd/work", target / "work")
    definitions = program.module("open-cluster-management.io/api")
    for name, file in OCM_DEFINITIONS.items():
        (target / name).write_bytes((definitions / file).read_bytes())


def _build_vcluster(program: Program, target: Path) -> None:
    program.compile(".", target / "vcluster")
    chart = program.module("github.com/loft-sh/vcluster") / "config"
    (target / "values.yaml").write_bytes((chart / "values.yaml").read_bytes())


REGISTRY = _single("registry", "a container registry (1 to 2 minutes, once per machine)")
"""`registry`, a container registry."""
CSI = Program(
    "csi",
    Path(__file__).parent / "go-csi",
    _build_csi,
    "the CSI driver, provisioner and resizer (2 to 4 minutes, once per machine)",
)
"""`csi-directory` (a driver), `csi-provisioner` and `csi-resizer`."""
OCM = Program(
    "ocm",
    Path(__file__).parent / "go-ocm",
    _build_ocm,
    "Open Cluster Management's work agent (5 to 10 minutes, once per machine)",
    tuple(OCM_DEFINITIONS.values()),
)
"""Open Cluster Management's `work` agent, and the CustomResourceDefinitions of its kinds: `manifestworks.yaml` for
hubs and `appliedmanifestworks.yaml` for members."""
VCLUSTER = Program(
    "vcluster",
    Path(__file__).parent / "go-vcluster",
    _build_vcluster,
    "vcluster (5 to 10 minutes, once per machine)",
)
"""`vcluster`, and its chart's `values.yaml`."""
EXTRAS = (REGISTRY, CSI, OCM, VCLUSTER)
"""The programs that only some tests start, the quickest to build first."""
