"""Running git: the program itself, cut off from this machine's settings, with a time limit and without any question.

No hook, no submodule, no credential helper and no protocol but the address's own is used. A deploy key is in a file
(0600) for as long as a call lasts; a token is in the environment of the call; neither is ever on a command line or in
an error. Next: `mirror` keeps what was fetched.
"""

import base64
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kubeprobe.errors import KubeProbeError
from kubeprobe.sources.address import Address, Scheme
from kubeprobe.sources.secret import Secret

FETCH_WITHIN_S = 60.0
READ_WITHIN_S = 30.0
CONNECT_WITHIN_S = 10
LEFTOVER_AFTER_S = 600
"""A call's folder that is as old belongs to a process that was killed."""
TOLD_LENGTH = 600
TOKEN_USER = "x-access-token"  # noqa: S105 - a name; GitHub, GitLab and Gitea take any beside an access token
PASSED_ON = (
    "PATH",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
)
"""Of this process's environment, which holds secrets, git gets no more."""
SETTINGS = {
    "protocol.allow": "never",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "transfer.fsckObjects": "true",  # no path that leads out of the tree, among others
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",  # it would take the token elsewhere
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "20",
}


_REDIRECTED = re.compile(r"returned error: 30[12378]\b")


class GitError(KubeProbeError):
    """Git could not do what it was asked; the message is git's own, without secrets."""


class GitTimeoutError(GitError):
    """Git took longer than it may, and was ended."""


@dataclass(frozen=True)
class Remote:
    """A repository to fetch from."""

    address: Address
    secret: Secret = field(default_factory=Secret)


@dataclass(frozen=True)
class Call:
    """The surroundings of a few calls of git."""

    environment: dict[str, str]
    home: Path
    """A folder of their own, gone afterwards."""
    secrets: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    """Descriptors that git has too, and all that it starts."""

    @property
    def known_hosts(self) -> Path:
        """What ssh holds hosts to, and where it notes new ones."""
        return self.home / "known_hosts"

    def git(self, *arguments: str, typed: bytes | None = None, within_s: float = READ_WITHIN_S) -> bytes:
        """What git writes. Raises GitError when it fails, or takes longer than `within_s` seconds."""
        command = ["git", *arguments]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if typed is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                pass_fds=self.kept,
                start_new_session=True,  # with ssh and all else that it starts, it is ended
            )
        except FileNotFoundError:
            raise GitError("There is no `git` on this machine; install it where responders run.") from None
        try:
            said, complained = process.communicate(typed, timeout=within_s)
        except subprocess.TimeoutExpired:
            told = f"git {_verb(arguments)} took longer than {within_s:g} s and was ended"
            raise GitTimeoutError(told) from None
        finally:
            _end(process)
        if process.returncode != 0:
            raise GitError(self._told(complained) or f"git {_verb(arguments)} ended with {process.returncode}")
        return said

    def _told(self, complained: bytes) -> str:
        text = complained.decode(errors="replace")
        for secret in self.secrets:
            text = text.replace(secret, "***")
        lines = [line.strip("@ ").removeprefix("fatal: ").removeprefix("error: ") for line in text.splitlines()]
        told = "; ".join(line for line in lines if line)
        if "could not read Username" in told:
            told += "; the server asks for a token, or does not take this one"
        if _REDIRECTED.search(told):
            told += "; redirects are not followed: give the address it leads to, often the same with .git at its end"
        return told if len(told) <= TOLD_LENGTH else told[: TOLD_LENGTH - 3] + "..."


@contextmanager
def calling(folder: Path, remote: Remote | None = None, *kept: int) -> Iterator[Call]:
    """Surroundings for calls of git, in a folder of their own below `folder` that is gone afterwards."""
    make_private(folder)
    _remove_leftovers(folder)
    home = Path(tempfile.mkdtemp(prefix=".call-", dir=folder))  # 0700
    try:
        known_hosts = home / "known_hosts"
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
            "HOME": str(home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
        }
        settings, secrets = dict(SETTINGS), tuple[str, ...]()
        if remote is not None:
            settings |= _settings_for(remote)
            secrets = _write_files(home, known_hosts, remote)
            if remote.address.scheme is Scheme.SSH:
                environment |= _ssh(home, known_hosts, remote.secret)
        environment["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (name, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        yield Call(environment, home, secrets, kept)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def make_private(folder: Path) -> None:
    """Make a folder, or make one that is there, nobody else's to look into: it holds what a token or a key opened."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        with suppress(PermissionError):  # a volume that another user made: as open as that user wants it
            folder.chmod(0o700)


def _settings_for(remote: Remote) -> dict[str, str]:
    address = remote.address
    settings = {f"protocol.{address.scheme}.allow": "always"}
    if remote.secret.token:
        settings[f"http.{address.url}.extraHeader"] = f"Authorization: Basic {_basic(remote)}"
    return settings


def _basic(remote: Remote) -> str:
    return base64.b64encode(f"{remote.address.user or TOKEN_USER}:{remote.secret.token}".encode()).decode()


def _write_files(home: Path, known_hosts: Path, remote: Remote) -> tuple[str, ...]:
    """What git and ssh read from files; gives the texts that must never be told."""
    # A repository of another user here: whoever named its path trusts it.
    trusted = f'[safe]\n\tdirectory = "{remote.address.url}"\n' if remote.address.scheme is Scheme.FILE else ""
    (home / "gitconfig").write_text(trusted)
    known_hosts.write_text(remote.secret.known_hosts)
    if remote.secret.deploy_key:
        with os.fdopen(os.open(home / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(remote.secret.deploy_key.rstrip("\n") + "\n")
    return (*remote.secret.texts(), _basic(remote)) if remote.secret.token else remote.secret.texts()


def _ssh(home: Path, known_hosts: Path, secret: Secret) -> dict[str, str]:
    """Hosts that nobody named are taken on trust the first time, and held to it ever after."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes" if secret.known_hosts else "accept-new",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": os.devnull,
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(CONNECT_WITHIN_S),
        "ServerAliveInterval": "10",
        "LogLevel": "ERROR",
    }
    command = ["ssh", "-F", os.devnull, "-i", str(home / "key")]
    command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}


def _remove_leftovers(folder: Path) -> None:
    """A process that was killed leaves its call's folder behind, with a key in it."""
    for found in folder.glob(".call-*"):
        with suppress(FileNotFoundError):
            if time.time() - found.stat().st_mtime > LEFTOVER_AFTER_S:
                shutil.rmtree(found, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _verb(arguments: Sequence[str]) -> str:
    return next((argument for argument in arguments if not argument.startswith("-")), "")
