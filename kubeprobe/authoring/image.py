"""Builds a probe's image with buildah, podman or docker. Next: `register` adds it to the catalog.

The folder is the build's context, with the Python client added to a Python probe. The digest of a pushed image is
stored in the folder.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubeprobe.authoring.folder import IMAGE_FILE, ProbeFolder
from kubeprobe.authoring.programs import run_program
from kubeprobe.errors import InvalidInputError, KubeProbeError

BUILDERS = ("buildah", "podman", "docker")
_CLIENT = "kubeprobe_client"
_STANDARD_ERROR = 2
"""The builder prints there: standard output is for the image's name."""
BUILD_S = 3600.0
"""For building or pushing an image."""
INSPECT_S = 60.0
_IGNORED = (".git", "__pycache__", ".venv", "*.pyc", IMAGE_FILE)


class BuildError(KubeProbeError):
    """The image could not be built or pushed."""


@dataclass(frozen=True)
class Build:
    """What to build."""

    tag: str
    push: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Of the Dockerfile: its ARGs."""
    builder: str | None = None


def build_image(folder: ProbeFolder, build: Build) -> str:
    """Build an image, and push it if requested. Returns its reference, with the digest if pushed.

    Raises BuildError and ProgramTimeoutError.

    The builder's output goes to standard error.
    """
    if not folder.is_an_image:
        raise InvalidInputError(f"the folder {folder.path} has no Dockerfile: there is nothing to build")
    builder = find_builder(build.builder)
    with tempfile.TemporaryDirectory(prefix="kubeprobe-build-") as scratch:
        context = _stage(folder.path, Path(scratch) / "context")
        given = [part for name, value in build.arguments.items() for part in ("--build-arg", f"{name}={value}")]
        _run([builder, "build", "-t", build.tag, *given, str(context)])
        if not build.push:
            return build.tag
        digest = _push(builder, build.tag, Path(scratch) / "digest")
    pinned = f"{_untagged(build.tag)}@{digest}"
    (folder.path / IMAGE_FILE).write_text(f"{pinned}\n")
    return pinned


def find_builder(wanted: str | None = None) -> str:
    """The program that builds images. Raises BuildError if none is installed."""
    names = (wanted,) if wanted else BUILDERS
    found = next((name for name in names if shutil.which(name)), None)
    if found is None:
        raise BuildError(f"no program that builds images found; expected {' or '.join(names)} to be installed")
    return found


def _stage(folder: Path, context: Path) -> Path:
    """The build's context: the folder, and the client library that a Python probe imports."""
    shutil.copytree(folder, context, ignore=shutil.ignore_patterns(*_IGNORED))
    if any(context.glob("*.py")) and not (context / _CLIENT).exists():
        spec = importlib.util.find_spec(_CLIENT)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, context / _CLIENT, ignore=shutil.ignore_patterns("__pycache__"))
    return context


def _push(builder: str, tag: str, digest_file: Path) -> str:
    """Push an image. Returns its digest in the registry."""
    if builder != "docker":
        _run([builder, "push", "--digestfile", str(digest_file), tag])
        return digest_file.read_text().strip()
    _run([builder, "push", tag])
    format_ = "{{range .RepoDigests}}{{println .}}{{end}}"
    output = _run([builder, "image", "inspect", "--format", format_, tag], INSPECT_S, subprocess.PIPE)
    for line in output.split():
        name, _, digest = line.partition("@")
        if name in (_untagged(tag), f"docker.io/{_untagged(tag)}") or _untagged(tag).endswith(f"/{name}"):
            return digest
    raise BuildError(f"docker pushed {tag}, but did not return its digest: {output.strip() or 'no output'}")


def _untagged(reference: str) -> str:
    return re.sub(r":[^:/]+$", "", reference)


def _run(command: list[str], limit_s: float = BUILD_S, stdout: int = _STANDARD_ERROR) -> str:
    done = run_program(command, limit_s, stdout=stdout, stderr=None)
    if done.returncode != 0:
        what = " ".join(command[:2])
        raise BuildError(f"`{what}` failed with exit code {done.returncode}; see its output above")
    return done.stdout or ""
