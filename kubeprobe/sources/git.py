"""Running the git program: isolated from this machine's git configuration, with a time limit and without prompts.

No hook, submodule, credential helper, or protocol other than the address's own is used. A deploy key is in a file
(0600) only while its GitRunner is open, a token in the environment of the git process; neither is ever on a command
line or in an error message. Next: `mirror` keeps what was fetched.
"""

import base64
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kubeprobe.errors import KubeProbeError
from kubeprobe.privatefiles import own_private_folder
from kubeprobe.sources.address import Address, Scheme
from kubeprobe.sources.secret import Secret

FETCH_TIMEOUT_S = 60.0
READ_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
KILL_TIMEOUT_S = 5.0
MAX_OUTPUT_BYTES = 64_000_000
"""Of one command: a small repository can have a listing, or a file, without limit."""
MAX_STDERR_BYTES = 64_000
"""The rest is not kept: a server decides what git prints."""
_CHUNK_BYTES = 1 << 16
MEASURE_EVERY_S = 0.2
"""How often the folder that a command writes to is measured."""
ORPHAN_AGE_S = 600
"""A runner's folder that is older belongs to a process that was killed."""
MAX_MESSAGE_LENGTH = 600
TOKEN_USER = "x-access-token"  # noqa: S105 - a name; GitHub, GitLab and Gitea accept any with an access token
INHERITED_VARIABLES = (
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
"""The only variables of this process, whose environment contains secrets, that git inherits."""
SETTINGS = {
    "protocol.allow": "never",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.bigFileThreshold": "1m",  # larger files, also of a few packed bytes, are not held in memory
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "transfer.fsckObjects": "true",  # rejects paths that lead out of the tree, among others
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",  # the token would be sent to another server
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "20",
}


_REDIRECTED = re.compile(r"returned error: 30[12378]\b")


class GitError(KubeProbeError):
    """A git command failed; the message is git's own, without secrets."""


class GitTimeoutError(GitError):
    """A git command exceeded its time limit and was killed."""


class GitOutputError(GitError):
    """A git command printed more than was asked for, and was killed."""


class GitDiskError(GitError):
    """A git command wrote more to the disk than it may, and was killed."""


@dataclass(frozen=True)
class DiskLimit:
    """How large a folder may become while a command writes to it."""

    folder: Path
    max_bytes: int

    def is_exceeded(self) -> bool:
        """Whether the folder is larger."""
        return folder_size(self.folder) > self.max_bytes


def folder_size(folder: Path) -> int:
    """The bytes of all files below a folder; files that vanish meanwhile do not count."""
    size = 0
    waiting = [str(folder)]
    while waiting:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    with suppress(FileNotFoundError):
                        size += entry.stat(follow_symlinks=False).st_size
    return size


@dataclass(frozen=True)
class Remote:
    """A repository to fetch from."""

    address: Address
    secret: Secret = field(default_factory=Secret)


@dataclass(frozen=True)
class GitRunner:
    """Runs git commands in an environment of their own."""

    environment: dict[str, str]
    home: Path
    """A folder that is deleted afterwards."""
    secrets: tuple[str, ...] = ()
    """Texts that are removed from error messages."""
    pass_fds: tuple[int, ...] = ()
    """File descriptors that git and its child processes inherit."""

    @property
    def known_hosts(self) -> Path:
        """The known_hosts file of ssh, to which it adds new hosts."""
        return self.home / "known_hosts"

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        timeout_s: float = READ_TIMEOUT_S,
        max_bytes: int = MAX_OUTPUT_BYTES,
        disk: DiskLimit | None = None,
    ) -> bytes:
        """The standard output of a git command.

        Raises GitError if it fails, exceeds `timeout_s` seconds, prints more than `max_bytes`, or writes more than
        `disk` allows.
        """
        with tempfile.TemporaryFile(dir=self.home) as given:
            given.write(stdin)
            given.seek(0)
            try:
                process = subprocess.Popen(
                    ["git", *arguments],
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self.environment,
                    pass_fds=self.pass_fds,
                    start_new_session=True,  # so that ssh and other child processes can be killed with it
                )
            except FileNotFoundError:
                raise GitError("`git` is not installed on this machine; install it where responders run.") from None
        try:
            stdout, stderr = _read_output(process, timeout_s, max_bytes, disk)
        except subprocess.TimeoutExpired:
            message = f"git {_subcommand(arguments)} took longer than {timeout_s:g} s and was killed"
            raise GitTimeoutError(message) from None
        except _TooMuchOutputError:
            message = f"git {_subcommand(arguments)} printed more than {max_bytes:,} bytes and was killed"
            raise GitOutputError(message) from None
        except _TooMuchOnDiskError as error:
            message = f"git {_subcommand(arguments)} wrote more than {error.limit.max_bytes:,} bytes"
            raise GitDiskError(f"{message} and was killed") from None
        finally:
            _kill(process)
        if process.returncode != 0:
            message = self._error_message(stderr)
            raise GitError(message or f"git {_subcommand(arguments)} exited with {process.returncode}")
        return stdout

    def _error_message(self, stderr: bytes) -> str:
        text = stderr.decode(errors="replace")
        for secret in self.secrets:
            text = text.replace(secret, "***")
        lines = [line.strip("@ ").removeprefix("fatal: ").removeprefix("error: ") for line in text.splitlines()]
        message = "; ".join(line for line in lines if line)
        if "could not read Username" in message:
            message += "; the server requires a token, or rejected this one"
        if _REDIRECTED.search(message):
            message += "; redirects are not followed: use the target address, often the same with .git at the end"
        return message if len(message) <= MAX_MESSAGE_LENGTH else message[: MAX_MESSAGE_LENGTH - 3] + "..."


@contextmanager
def git_runner(folder: Path, remote: Remote | None = None, *pass_fds: int) -> Iterator[GitRunner]:
    """A GitRunner, whose files are in a new folder below `folder` that is deleted afterwards."""
    own_private_folder(folder)
    _delete_orphans(folder)
    home = Path(tempfile.mkdtemp(prefix=".call-", dir=folder))  # 0700
    try:
        known_hosts = home / "known_hosts"
        environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ} | {
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
                environment |= _ssh_environment(home, known_hosts, remote.secret)
        environment["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (name, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        yield GitRunner(environment, home, secrets, pass_fds)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _settings_for(remote: Remote) -> dict[str, str]:
    address = remote.address
    settings = {f"protocol.{address.scheme}.allow": "always"}
    if remote.secret.token:
        settings[f"http.{address.url}.extraHeader"] = f"Authorization: Basic {_basic(remote)}"
    return settings


def _basic(remote: Remote) -> str:
    return base64.b64encode(f"{remote.address.user or TOKEN_USER}:{remote.secret.token}".encode()).decode()


def _write_files(home: Path, known_hosts: Path, remote: Remote) -> tuple[str, ...]:
    """Write the files that git and ssh read; returns the texts that must not appear in messages."""
    # Git refuses a local repository of another user unless it is marked as safe.
    trusted = f'[safe]\n\tdirectory = "{remote.address.url}"\n' if remote.address.scheme is Scheme.FILE else ""
    (home / "gitconfig").write_text(trusted)
    known_hosts.write_text(remote.secret.known_hosts)
    if remote.secret.deploy_key:
        with os.fdopen(os.open(home / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(remote.secret.deploy_key.rstrip("\n") + "\n")
    return (*remote.secret.texts(), _basic(remote)) if remote.secret.token else remote.secret.texts()


def _ssh_environment(home: Path, known_hosts: Path, secret: Secret) -> dict[str, str]:
    """Without given known hosts, the host key of the first connection is trusted and required from then on."""
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes" if secret.known_hosts else "accept-new",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": os.devnull,
        "UpdateHostKeys": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT_S),
        "ServerAliveInterval": "10",
        "LogLevel": "ERROR",
    }
    command = ["ssh", "-F", os.devnull, "-i", str(home / "key")]
    command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}


def _delete_orphans(folder: Path) -> None:
    """A process that was killed leaves its runner's folder behind, which may contain a key."""
    for found in folder.glob(".call-*"):
        with suppress(FileNotFoundError):
            if time.time() - found.stat().st_mtime > ORPHAN_AGE_S:
                shutil.rmtree(found, ignore_errors=True)


class _TooMuchOutputError(Exception):
    """The output exceeds its limit."""


class _TooMuchOnDiskError(Exception):
    """The folder that the command writes to exceeds its limit."""

    def __init__(self, limit: DiskLimit) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass
class _Gauge:
    """Measures a folder from time to time."""

    limit: DiskLimit
    next_at: float = 0.0

    def measure(self) -> None:
        """Raises _TooMuchOnDiskError if the folder is larger than it may be."""
        if self.limit.is_exceeded():
            raise _TooMuchOnDiskError(self.limit)
        self.next_at = time.monotonic() + MEASURE_EVERY_S


def _read_output(
    process: subprocess.Popen[bytes], timeout_s: float, max_bytes: int, disk: DiskLimit | None
) -> tuple[bytes, bytes]:
    """Standard output and error until the process has ended.

    Raises TimeoutExpired, _TooMuchOutputError and _TooMuchOnDiskError.
    """
    deadline = time.monotonic() + timeout_s
    gauge = _Gauge(disk) if disk else None
    stdout, stderr = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, received in ((process.stdout, stdout), (process.stderr, stderr)):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, received)
        while selector.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            _receive(selector, min(left, MEASURE_EVERY_S) if gauge else left)
            del stderr[MAX_STDERR_BYTES:]
            if len(stdout) > max_bytes:
                raise _TooMuchOutputError
            if gauge and time.monotonic() >= gauge.next_at:
                gauge.measure()
    process.wait(max(0.0, deadline - time.monotonic()))
    if gauge:
        gauge.measure()
    return bytes(stdout), bytes(stderr)


def _receive(selector: selectors.BaseSelector, timeout_s: float) -> None:
    """Add what has arrived to the buffer of its pipe."""
    for key, _ in selector.select(timeout_s):
        if chunk := os.read(key.fd, _CHUNK_BYTES):
            key.data.extend(chunk)
        else:
            selector.unregister(key.fileobj)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_TIMEOUT_S)
    for pipe in (process.stdout, process.stderr):  # perhaps not read: a child that left the session has them
        if pipe is not None:
            pipe.close()


def _subcommand(arguments: Sequence[str]) -> str:
    return next((argument for argument in arguments if not argument.startswith("-")), "")
