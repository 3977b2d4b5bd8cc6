"""Validating the address, branch and path of a source's repository."""

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from kubeprobe.errors import InvalidInputError
from kubeprobe.names import nearest

MAX_LENGTH = 4096

_SCP = re.compile(r"(?P<user>[A-Za-z0-9_][\w.-]*@)?(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^:].*)")
"""`git@github.com:team/catalog.git`, git's short form of an ssh URL."""
_BRANCH = re.compile(
    r"(?!.*(\.\.|//|@\{|/\.|\.lock(/|$)))[^\s\x00-\x1f\x7f~^:?*\[\\/.-][^\s\x00-\x1f\x7f~^:?*\[\\]*(?<![./])"
)
"""Branch names that `git check-ref-format` allows, without those that start with a dash."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Scheme(StrEnum):
    """The protocol of a repository, by git's own name."""

    HTTPS = "https"
    HTTP = "http"
    SSH = "ssh"
    FILE = "file"
    """A path on the machines of the workers."""


@dataclass(frozen=True)
class Address:
    """A repository's address, without any secret."""

    url: str
    scheme: Scheme
    user: str = ""
    host: str = ""

    @property
    def is_private(self) -> bool:
        """Whether a token can be sent without others being able to read it."""
        return self.scheme is Scheme.HTTPS or (self.scheme is Scheme.HTTP and self.host in _LOOPBACK)

    @property
    def shown(self) -> str:
        """The address for output, without a user name if it is http(s), as that is often a token."""
        return self.url if self.scheme in {Scheme.SSH, Scheme.FILE} else _without_user(self.url)

    @property
    def server(self) -> tuple[str, str, int | None]:
        """The server that receives the secrets: scheme, host, port."""
        port = urlsplit(self.url).port if "://" in self.url else None
        return (self.scheme, self.host, port)

    def default_name(self) -> str:
        """A name for the source, derived from the repository's name."""
        last = re.split(r"[/:]", self.url.rstrip("/"))[-1].removesuffix(".git")
        return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:63].strip("-")


def parse_address(given: str) -> Address:
    """Parse an address. Raises InvalidInputError for one that is malformed, or that git would treat differently."""
    if len(given) > MAX_LENGTH:
        raise InvalidInputError(f"an address of {len(given)} characters is too long; expected at most {MAX_LENGTH}")
    if given.startswith(("/", "./", "../")):
        return Address(str(Path(given).absolute()), Scheme.FILE)
    if "://" not in given:
        if found := _SCP.fullmatch(given):
            return Address(given, Scheme.SSH, (found["user"] or "").rstrip("@"), found["host"])
        if os.path.isdir(given):  # noqa: PTH112 -- Path.is_dir raises for a name that is too long
            raise InvalidInputError(
                f"{given!r} is not a repository address; for the folder of that name, use ./{given}"
            )
        shown = repr(given.rpartition("@")[2])
        raise InvalidInputError(f"{shown} is not a repository address; expected https://..., ssh://... or a path")
    scheme = given.partition("://")[0]
    if scheme not in {Scheme.HTTPS, Scheme.HTTP, Scheme.SSH}:
        if scheme == Scheme.FILE:
            raise InvalidInputError(f"{given!r}: file:// is not supported; use the path of the repository")
        raise InvalidInputError(
            f"{scheme!r} is not a supported scheme; expected https, http or ssh.{nearest(scheme, Scheme)}"
        )
    return _parse_url(given, Scheme(scheme))


def _parse_url(given: str, scheme: Scheme) -> Address:
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # its message quotes the address, which may contain a secret
        raise InvalidInputError("the address is malformed; expected SCHEME://HOST[:PORT]/REPOSITORY") from None
    if parts.password is not None:  # never repeated in a message
        raise InvalidInputError("the address contains a password; pass it with --token-file or --token-env instead")
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        raise InvalidInputError(f"{_without_user(given)!r} has no host")
    if parts.query or parts.fragment or re.search(r"\s", given):
        shown = re.split(r"[?#\s]", _without_user(given))[0]
        raise InvalidInputError(f"{shown!r} must not be followed by '?', '#' or spaces")
    return Address(given, scheme, parts.username or "", host)


def _without_user(url: str) -> str:
    return re.sub(r"://[^/?#]*@", "://", url, count=1)


def check_branch(given: str) -> str:
    """The branch name, if it is valid. Raises InvalidInputError."""
    if not _BRANCH.fullmatch(given):
        raise InvalidInputError(f"{given!r} is not a branch name; expected one such as main or release/1.2")
    return given


def check_path(given: str) -> str:
    """A folder in a repository, without surrounding slashes; empty for its root. Raises InvalidInputError."""
    path = PurePosixPath(given.strip())
    if path.is_absolute() or given.startswith("~"):
        raise InvalidInputError(f"path {given!r} is absolute; expected a folder of the repository, such as catalog/")
    if ".." in path.parts:
        raise InvalidInputError(f"path {given!r} contains '..'; expected a folder of the repository, such as catalog/")
    if any(not part.isprintable() for part in path.parts):
        raise InvalidInputError(f"path {given!r} contains characters that are not printable")
    return "" if str(path) == "." else str(path)
