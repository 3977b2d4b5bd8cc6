"""Where a source's repository is: addresses that are taken, and what is refused at the door."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from kubeprobe.errors import InvalidInputError
from kubeprobe.names import nearest

_SCP = re.compile(r"(?P<user>[A-Za-z0-9_][\w.-]*@)?(?P<host>[A-Za-z0-9][\w.-]*):(?P<path>[^:].*)")
"""`git@github.com:team/catalog.git`, as git takes it for ssh."""
_BRANCH = re.compile(
    r"(?!.*(\.\.|//|@\{|/\.|\.lock(/|$)))[^\s\x00-\x1f\x7f~^:?*\[\\/.-][^\s\x00-\x1f\x7f~^:?*\[\\]*(?<![./])"
)
"""What `git check-ref-format` allows of a branch's name, without a leading dash."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Scheme(StrEnum):
    """How a repository is reached; git calls its protocols so, too."""

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
        """Whether a token can be sent without others reading it."""
        return self.scheme is Scheme.HTTPS or (self.scheme is Scheme.HTTP and self.host in _LOOPBACK)

    @property
    def shown(self) -> str:
        """As it may be told: what stands for a user's name in an http address is often a token."""
        return self.url if self.scheme in {Scheme.SSH, Scheme.FILE} else _without_user(self.url)

    @property
    def server(self) -> tuple[str, str, int | None]:
        """What a secret is shown to."""
        port = urlsplit(self.url).port if "://" in self.url else None
        return (self.scheme, self.host, port)

    def default_name(self) -> str:
        """The repository's own name, as a source could be called."""
        last = re.split(r"[/:]", self.url.rstrip("/"))[-1].removesuffix(".git")
        return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:63].strip("-")


def parse_address(given: str) -> Address:
    """The address that a person gave. Raises InvalidInputError for what git could do otherwise, or should not."""
    if given.startswith(("/", "./", "../")):
        return Address(str(Path(given).absolute()), Scheme.FILE)
    if "://" not in given:
        if found := _SCP.fullmatch(given):
            return Address(given, Scheme.SSH, (found["user"] or "").rstrip("@"), found["host"])
        if Path(given).is_dir():
            raise InvalidInputError(
                f"{given!r} is no address of a repository; for the folder of that name, say ./{given}"
            )
        told = repr(given.rpartition("@")[2])
        raise InvalidInputError(f"{told} is no address of a repository; expected https://..., ssh://... or a path")
    scheme = given.partition("://")[0]
    if scheme not in {Scheme.HTTPS, Scheme.HTTP, Scheme.SSH}:
        if scheme == Scheme.FILE:
            raise InvalidInputError(f"{given!r}: a repository on this machine is given by its path, without file://")
        raise InvalidInputError(
            f"{scheme!r} is no scheme of a source; expected https, http or ssh.{nearest(scheme, Scheme)}"
        )
    return _parse_url(given, Scheme(scheme))


def _parse_url(given: str, scheme: Scheme) -> Address:
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # its text quotes the address
        raise InvalidInputError("the address cannot be read; expected SCHEME://HOST[:PORT]/REPOSITORY") from None
    if parts.password is not None:  # never told back: it is a secret
        raise InvalidInputError("The address holds a password; give it by --token-file or --token-env instead.")
    if not host or host.startswith("-") or (parts.username or "").startswith("-"):
        raise InvalidInputError(f"{_without_user(given)!r} names no host")
    if parts.query or parts.fragment or re.search(r"\s", given):
        told = re.split(r"[?#\s]", _without_user(given))[0]
        raise InvalidInputError(f"{told!r} is followed by more than an address has: no '?', '#' or spaces")
    return Address(given, scheme, parts.username or "", host)


def _without_user(url: str) -> str:
    return re.sub(r"://[^/?#]*@", "://", url, count=1)


def check_branch(given: str) -> str:
    """A branch's name. Raises InvalidInputError."""
    if not _BRANCH.fullmatch(given):
        raise InvalidInputError(f"{given!r} is no branch name; expected one such as main or release/1.2")
    return given


def check_path(given: str) -> str:
    """A folder within a repository, without slashes around it; empty for all of it. Raises InvalidInputError."""
    path = PurePosixPath(given.strip())
    if path.is_absolute() or given.startswith("~"):
        raise InvalidInputError(
            f"path {given!r} is absolute; expected a folder within the repository, such as catalog/"
        )
    if ".." in path.parts:
        raise InvalidInputError(f"path {given!r} goes up; expected a folder within the repository, such as catalog/")
    if any(not part.isprintable() for part in path.parts):
        raise InvalidInputError(f"path {given!r} holds what cannot be printed")
    return "" if str(path) == "." else str(path)
