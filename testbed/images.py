"""The images that run in the cluster, built from Dockerfiles with buildah and imported into containerd.

The test bed cannot reach a registry, so every image is imported. An image is rebuilt when its inputs change, and
imported again after that.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries, cache
from testbed.commands import run, succeeds
from testbed.instance import Instance, TestbedError, cache_directory

REPOSITORY = Path(__file__).parent.parent
DOCKERFILES = Path(__file__).parent / "images"
SUITE = "bookworm"
# The Python of that suite, for which wheels are selected, independent of the Python that runs this.
PYTHON_VERSION = "3.11"
BASE_PACKAGES = ("ca-certificates", "iproute2", "iptables", "nftables", "python3")
# Not needed to run Python; three quarters of the size.
BASE_EXCLUDED = (
    *("dev/*", "proc/*", "sys/*", "usr/share/doc", "usr/share/man", "usr/share/locale"),
    *("var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*"),
)
KEPT_BUILDS = 3


@dataclass(frozen=True)
class Image:
    """An image: its name without registry and tag, and what its Dockerfile copies (name in the context -> path)."""

    name: str
    contents: Callable[[], Mapping[str, Path]]
    base: Callable[[], str] | None = None

    @property
    def reference(self) -> str:
        """The full name that pods use."""
        return f"docker.io/kubeprobe/{self.name}:dev"


def build_all() -> dict[str, Path]:
    """Build the images that have changed; return the archive of each by its reference."""
    return {image.reference: build(image) for image in IMAGES}


def build(image: Image) -> Path:
    """Return the image as an archive for containerd, from the cache if its inputs have not changed."""
    contents = image.contents()
    base = image.base() if image.base else None
    key = cache.digest(
        DOCKERFILES / image.name, base or "", *(part for item in contents.items() for part in _identity(*item))
    )
    found = cache.entry(
        f"image-{image.name}-{key}",
        lambda target: _build(image, contents, base, target),
        f"building image {image.reference} ...",
    )
    os.utime(found)
    _forget_old_builds(image)
    return found / "image.tar"


def import_all(instance: Instance, archives: Mapping[str, Path]) -> list[str]:
    """Import what containerd does not have yet; return the references imported."""
    known = _imported(instance)
    done = []
    for reference, archive in archives.items():
        if known.get(reference) == archive.parent.name:
            continue
        run([*ctr(instance), "images", "import", str(archive)])
        known[reference] = archive.parent.name
        _record(instance).write_text(json.dumps(known, indent=2))
        done.append(reference)
    return done


def ctr(instance: Instance) -> list[str]:
    """Return the first arguments of a `ctr` command for the instance's containerd, in the kubelet's namespace."""
    return ["ctr", "--address", str(instance.containerd_socket), "--namespace", "k8s.io"]


def _imported(instance: Instance) -> dict[str, str]:
    record = _record(instance)
    known: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    present = run([*ctr(instance), "images", "list", "--quiet"]).split()
    return {reference: build for reference, build in known.items() if reference in present}


def _record(instance: Instance) -> Path:
    return instance.containerd_root / "imported.json"


def _identity(name: str, path: Path) -> tuple[str, str | Path]:
    if path.is_relative_to(cache_directory()):  # its directory's name contains the hash of its inputs
        return name, str(path.relative_to(cache_directory()))
    return name, path


def _build(image: Image, contents: Mapping[str, Path], base: str | None, target: Path) -> None:
    context = target / "context"
    context.mkdir()
    for part, source in contents.items():
        if source.is_dir():
            shutil.copytree(source, context / part, ignore=shutil.ignore_patterns(*cache.IGNORED))
        else:
            shutil.copy2(source, context / part)
    # A random name may end in an underscore, which is invalid in a reference.
    name = target.name.lower().replace("_", "0")
    built = f"localhost/kubeprobe-testbed/{name}"
    options = ["--build-arg", f"BASE={base}"] if base else []
    try:
        _build_with_buildah(image, context, built, options)
        _buildah("push", "--quiet", built, f"docker-archive:{target / 'image.tar'}:{image.reference}")
    finally:
        succeeds([*_buildah_command("rmi"), "--force", built])
        shutil.rmtree(context)


def _build_with_buildah(image: Image, context: Path, built: str, options: list[str]) -> None:
    file = str(DOCKERFILES / image.name / "Dockerfile")
    _buildah("bud", "--quiet", "--pull-never", "--file", file, "--tag", built, *options, str(context))


def _buildah(command: str, *arguments: str) -> str:
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    return run([*_buildah_command(command), *arguments], env=env)


def _buildah_command(command: str) -> list[str]:
    # Storage of its own, separate from the user's images. vfs needs no kernel support.
    storage = ["--root", str(cache_directory() / "buildah"), "--runroot", "/run/kubeprobe-testbed/buildah"]
    return ["buildah", *storage, "--storage-driver", "vfs", command]


def _forget_old_builds(image: Image) -> None:
    builds = [path for path in cache_directory().glob(f"image-{image.name}-*") if path.is_dir()]
    complete = [path for path in builds if ".tmp" not in path.name]
    for old in sorted(complete, key=lambda path: path.stat().st_mtime)[:-KEPT_BUILDS]:
        shutil.rmtree(old, ignore_errors=True)
        old.with_name(f"{old.name}.lock").unlink(missing_ok=True)


def _busybox() -> dict[str, Path]:
    program = Path("/bin/busybox")
    if not program.exists():
        raise TestbedError(f"{program} is missing: run `python -m testbed install`")
    return {"busybox": program}


def _probes() -> dict[str, Path]:
    return {
        "probes": REPOSITORY / "probes",
        "kubeprobe_client": REPOSITORY / "clients" / "python" / "kubeprobe_client",
        "site": _probe_dependencies(),
    }


def _probe_dependencies() -> Path:
    """The probes' dependencies, installed from wheels with the hashes of the lock file."""
    lock = REPOSITORY / "probes" / "requirements.lock"
    key = cache.digest(PYTHON_VERSION, lock if lock.exists() else "")
    found = cache.entry(f"probe-dependencies-{key}", lambda target: _pip_install(lock, target / "site"))
    return found / "site"


def _pip_install(lock: Path, target: Path) -> None:
    target.mkdir()
    if not lock.exists():
        return
    wheels = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON_VERSION}"]
    wheels += ["--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"]
    quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    options = ["--no-deps", "--no-compile", "--require-hashes", f"--requirement={lock}", f"--target={target}"]
    run([_python_with_pip(), "-m", "pip", "install", *quiet, *wheels, *options])


def _python_with_pip() -> str:
    for python in (sys.executable, "python3"):
        if succeeds([python, "-m", "pip", "--version"]):
            return python
    raise TestbedError("pip is missing: neither this Python nor python3 has it; install python3-pip")


def _python_base() -> str:
    """The reference, in buildah's storage, of the base image with Python."""
    found = cache.entry(
        f"python-base-{cache.digest(SUITE, *BASE_PACKAGES, *BASE_EXCLUDED)}",
        _debootstrap,
        f"building the Python base image from Debian {SUITE} (about a minute, once per machine) ...",
    )
    reference = f"localhost/kubeprobe-testbed/{found.name}"
    if not succeeds([*_buildah_command("inspect"), "--type", "image", reference]):
        file = str(DOCKERFILES / "python" / "Dockerfile")
        _buildah("bud", "--quiet", "--file", file, "--tag", reference, str(found))
    return reference


def _debootstrap(target: Path) -> None:
    root = target / "root"
    include = f"--include={','.join(BASE_PACKAGES)}"
    run(["nice", "debootstrap", "--variant=minbase", include, SUITE, str(root), *_debian_mirror()], timeout=1800)
    excluded = [f"--exclude=./{pattern}" for pattern in BASE_EXCLUDED]
    run(["tar", "--create", f"--file={target / 'rootfs.tar'}", f"--directory={root}", *excluded, "."])
    shutil.rmtree(root)


def _debian_mirror() -> list[str]:
    """The mirror that this machine's apt uses for that suite; empty if it has none (debootstrap has a default)."""
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}", "Created-By: Packages"]
    return run(query).split()[:1]


IMAGES = (
    Image("pause", lambda: {"pause": binaries.kubernetes() / "pause"}),
    Image("coredns", lambda: {"coredns": binaries.coredns() / "coredns"}),
    Image("busybox", _busybox),
    Image("probes", _probes, _python_base),
)
