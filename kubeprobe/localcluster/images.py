"""Images without a registry: a table from image names to directories and programs of this machine.

The built-in entries run KubeProbe's own probes, a shell, and a pause container; users add images with
`--image NAME=DIR`, or while it runs in a listing file that is read at every pull.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_REFERENCE = re.compile(
    r"^(?P<name>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
_PAUSE = "trap 'exit 0' TERM INT; sleep infinity & wait"


@dataclass(frozen=True, slots=True)
class Image:
    """Directories and programs of this machine that represent an image.

    `name` is a full name with a tag, or with `:*` for any tag. `pull_error` makes every pull of it fail
    with that message, to simulate a registry that throttles.
    """

    name: str
    pythonpath: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    working_dir: str | None = None
    pull_error: str | None = None

    @classmethod
    def from_directory(cls, name: str, directory: Path) -> "Image":
        """An image whose content is a directory: working directory, first in PATH and PYTHONPATH."""
        where = str(directory.resolve())
        pattern = full_name(name) if _has_tag(name) else full_name(name).rpartition(":")[0] + ":*"
        return cls(pattern, pythonpath=(where,), path=(where,), working_dir=where)


class PullError(Exception):
    """The pull failed: `reason` is the container's waiting reason, `message` that of the container runtime."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ImageTable:
    """The images that containers of this cluster can use."""

    def __init__(self, images: Iterable[Image], listing: Path | None = None) -> None:
        self._images = {image.name: image for image in images}
        self._listing = listing

    def find(self, name: str, pull_policy: str) -> Image:
        """The image of this name. Raises `PullError` with the kubelet's reason."""
        if not _REFERENCE.match(name):
            message = f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}": '
            raise PullError("InvalidImageName", f"{message}invalid reference format")
        full = full_name(name)
        images = self._images | read_listing(self._listing)
        image = images.get(full) or images.get(f"{full.rpartition(':')[0]}:*")
        if image is not None and image.pull_error is None:
            return image
        if pull_policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            raise PullError("ErrImageNeverPull", message)
        why = f"{full}: not found" if image is None else image.pull_error
        raise PullError(
            "ErrImagePull",
            f'failed to pull and unpack image "{full}": failed to resolve reference "{full}": {why}',
        )


def add_to_listing(listing: Path, name: str, directory: Path) -> None:
    """Add a directory as an image to a listing; it replaces an image of the same name."""
    kept = {image: where for image, where in _listed(listing) if image != name}
    listing.parent.mkdir(parents=True, exist_ok=True)
    draft = listing.with_name(f"{listing.name}.{os.getpid()}")
    lines = {**kept, name: str(directory.resolve())}
    draft.write_text("".join(f"{image}={where}\n" for image, where in lines.items()))
    draft.replace(listing)


def read_listing(listing: Path | None) -> dict[str, Image]:
    """The images of a listing, by full name; entries whose directory no longer exists are left out."""
    found = (Image.from_directory(name, Path(where)) for name, where in _listed(listing) if Path(where).is_dir())
    return {image.name: image for image in found}


def _listed(listing: Path | None) -> Iterator[tuple[str, str]]:
    if listing is None or not listing.exists():
        return
    for line in listing.read_text().splitlines():
        name, equals, directory = line.partition("=")
        if equals:
            yield name, directory


def full_name(name: str) -> str:
    """An image name with registry and tag, completed as the container runtime does."""
    if not _has_tag(name):
        name += ":latest"
    head, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." in head or ":" in head or head == "localhost":
        return name
    return f"docker.io/{name}"


def default_pull_policy(name: str) -> str:
    """The imagePullPolicy of a container that sets none; it depends on the tag."""
    return "Always" if full_name(name).endswith(":latest") else "IfNotPresent"


def _has_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2] or "@" in name


def built_in_images(pythonpath: Iterable[str] | None = None) -> list[Image]:
    """The images every local cluster has.

    `pythonpath` is where `probes` and `kubeprobe_client` are; by default, where they are installed.
    They are never imported here.
    """
    where = tuple(pythonpath) if pythonpath is not None else _installed("probes", "kubeprobe_client")
    throttled = (
        "unexpected status from HEAD request: 429 Too Many Requests - Server message: toomanyrequests: "
        "You have reached your unauthenticated pull rate limit."
    )
    return [
        Image("docker.io/kubeprobe/probes:*", pythonpath=where),
        Image("docker.io/kubeprobe/busybox:*", entrypoint=("sh",)),
        Image("docker.io/kubeprobe/pause:*", entrypoint=("sh", "-c", _PAUSE)),
        Image("docker.io/kubeprobe/throttled:*", pull_error=throttled),
    ]


def _installed(*packages: str) -> tuple[str, ...]:
    found: list[str] = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        locations = (spec.submodule_search_locations or ()) if spec else ()
        found += [str(Path(location).parent) for location in locations]
    return tuple(dict.fromkeys(found))


def write_launchers(directory: Path) -> None:
    """Write `python` and `python3`, which run the current interpreter; `directory` goes first in PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        launcher = directory / name
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
