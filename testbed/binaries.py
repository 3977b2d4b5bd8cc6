"""Kubernetes, etcd, CoreDNS, the pause program and what some tests need besides, built with Go. Next: `images`.

One program is every Kubernetes component: `go/main.go` dispatches on the name it is started by, so each
component is a link to it. Cold this is a matter of minutes, hence the cache.
"""

import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from testbed import cache
from testbed.commands import run
from testbed.instance import TestbedError

SOURCE = Path(__file__).parent / "go"
COREDNS_SOURCE = Path(__file__).parent / "go-coredns"
CSI_SOURCE = Path(__file__).parent / "go-csi"
CSI_TOOLS = {
    "csi-provisioner": "github.com/kubernetes-csi/external-provisioner/v5/cmd/csi-provisioner",
    "csi-resizer": "github.com/kubernetes-csi/external-resizer/cmd/csi-resizer",
}
REGISTRY_SOURCE = Path(__file__).parent / "go-registry"
OCM_SOURCE = Path(__file__).parent / "go-ocm"
OCM_DEFINITIONS = {
    "manifestworks.yaml": "work/v1/0000_00_work.open-cluster-management.io_manifestworks.crd.yaml",
    "appliedmanifestworks.yaml": "work/v1/0000_01_work.open-cluster-management.io_appliedmanifestworks.crd.yaml",
}
"""By the names that they get, where they are in the module `open-cluster-management.io/api`."""
VCLUSTER_SOURCE = Path(__file__).parent / "go-vcluster"
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)


def build_all() -> None:
    """Build whatever is not in the cache. Within a test bed's network namespace no Go module can be fetched."""
    for directory in (kubernetes, coredns, csi, registry, ocm, vcluster):
        directory()


def kubernetes() -> Path:
    """Directory with `kubelet`, `etcd`, `kubectl` and so on; built when it is not in the cache."""
    flags = _version_flags()
    name = f"kubernetes-{kubernetes_version()}"
    told = f"Kubernetes {kubernetes_version()} (5 to 10 minutes, once per machine)"
    return _built(name, SOURCE, lambda target: _build_kubernetes(target, flags), told, flags)


def coredns() -> Path:
    """Directory with `coredns`; built when it is not in the cache."""
    told = "CoreDNS (1 to 2 minutes, once per machine)"
    return _built("coredns", COREDNS_SOURCE, lambda target: _go_build(COREDNS_SOURCE, ".", target / "coredns"), told)


def csi() -> Path:
    """Directory with `csi-directory` (a driver), `csi-provisioner` and `csi-resizer`; built when not in the cache."""
    told = "the CSI driver, provisioner and resizer (2 to 4 minutes, once per machine)"
    return _built("csi", CSI_SOURCE, _build_csi, told)


def registry() -> Path:
    """Directory with `registry`, a container registry; built when it is not in the cache. Only some tests need it."""
    told = "a container registry (1 to 2 minutes, once per machine)"
    return _built(
        "registry", REGISTRY_SOURCE, lambda target: _go_build(REGISTRY_SOURCE, ".", target / "registry"), told
    )


def ocm() -> Path:
    """Directory with Open Cluster Management's `work`, and the definitions of what it works on; built when not there.

    The definitions are `manifestworks.yaml` for hubs and `appliedmanifestworks.yaml` for members.
    """
    told = "Open Cluster Management's work agent (5 to 10 minutes, once per machine)"
    return _built("ocm", OCM_SOURCE, _build_ocm, told, *OCM_DEFINITIONS.values())


def vcluster() -> Path:
    """Directory with `vcluster` and its chart's `values.yaml`; built when not in the cache."""
    return _built("vcluster", VCLUSTER_SOURCE, _build_vcluster, "vcluster (5 to 10 minutes, once per machine)")


def _built(name: str, source: Path, build: Callable[[Path], None], told: str, *more: str) -> Path:
    """The directory that `build` fills out of `source` (and of what `more` says), from the cache if it is there."""
    key = f"{name}-{platform.machine()}-{cache.digest(source, *more)}"
    return cache.entry(key, build, f"building {told} ...")


def kubernetes_version() -> str:
    """The version of Kubernetes that go.mod pins."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise TestbedError(f"{SOURCE / 'go.mod'} requires no k8s.io/kubernetes")
    return found[1]


def _version_flags() -> str:
    """Linker flags that tell the components their version; without, kubelet and kubectl complain about "v0.0.0"."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    facts = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitCommit": "testbed"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in facts.items())


def _build_kubernetes(target: Path, flags: str) -> None:
    _go_build(SOURCE, ".", target / "kubernetes", flags)
    _go_build(SOURCE, "./pause", target / "pause")
    for component in COMPONENTS:
        (target / component).symlink_to("kubernetes")


def _build_csi(target: Path) -> None:
    _go_build(CSI_SOURCE, ".", target / "csi-directory")
    for name, package in CSI_TOOLS.items():
        _go_build(CSI_SOURCE, package, target / name)


def _build_ocm(target: Path) -> None:
    _go_build(OCM_SOURCE, "open-cluster-management.io/ocm/cmd/work", target / "work")
    definitions = _module(OCM_SOURCE, "open-cluster-management.io/api")
    for name, file in OCM_DEFINITIONS.items():
        (target / name).write_bytes((definitions / file).read_bytes())


def _build_vcluster(target: Path) -> None:
    _go_build(VCLUSTER_SOURCE, ".", target / "vcluster")
    chart = _module(VCLUSTER_SOURCE, "github.com/loft-sh/vcluster") / "config"
    (target / "values.yaml").write_bytes((chart / "values.yaml").read_bytes())


def _module(source: Path, name: str) -> Path:
    """Where Go keeps the source of a module that another one requires."""
    return Path(run(["go", "list", "-m", "-f", "{{.Dir}}", name], cwd=source).strip())


def _go_build(source: Path, package: str, output: Path, link_flags: str = "") -> None:
    if shutil.which("go") is None:
        raise TestbedError("Go is missing: the test bed's Kubernetes is built with it (1.25 or newer, https://go.dev)")
    run(
        ["nice", "go", "build", "-trimpath", "-ldflags", f"-s -w {link_flags}", "-o", str(output), package],
        cwd=source,
        env={**os.environ, "CGO_ENABLED": "0"},
        timeout=3600,
    )
