"""Git over the network, on loopback: `git http-backend` behind a token, and sshd with a deploy key."""

import base64
import os
import pwd
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.harness.need import lacking
from tests.harness.ports import free_port
from tests.harness.wait import until

SSHD = "/usr/sbin/sshd"


@dataclass
class HttpServer:
    """Serves the repositories of a folder to clients with the token."""

    url: str
    commands: list[str] = field(default_factory=list)
    """Command lines of git processes during requests."""
    meanwhile: Callable[[], object] = lambda: None
    """Called once, while git waits for its first response."""


@contextmanager
def http_server(folder: Path, token: str) -> Iterator[HttpServer]:
    """Git's own CGI program behind basic authentication."""
    wanted = f"Basic {base64.b64encode(f'x-access-token:{token}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            served.commands += _command_lines()
            meanwhile, served.meanwhile = served.meanwhile, lambda: None
            meanwhile()
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            if path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", self.path.replace("/moved", "", 1))
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environment = os.environ | {
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "team",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = HttpServer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class SshServer:
    """An sshd where a deploy key can only run git."""

    port: int
    user: str
    deploy_key: str
    host_key: Path

    def url(self, repository: Path) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{repository}"

    def known_hosts(self) -> str:
        kind, key, *_ = self.host_key.with_suffix(".pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Needs openssh-server (tests/packages.txt)."""
    if not Path(SSHD).exists():
        lacking("openssh-server is not installed")
    folder.mkdir(parents=True)
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    key, deploy = make_key(folder / "host"), make_key(folder / "deploy")
    script = folder / "git-only"
    script.write_text(
        '#!/bin/sh\ncase "$SSH_ORIGINAL_COMMAND" in git-upload-pack*) exec sh -c "$SSH_ORIGINAL_COMMAND";; esac\n'
    )
    script.chmod(0o755)
    allowed = folder / "authorized"
    allowed.write_text(f'command="{script}",restrict {deploy.with_suffix(".pub").read_text()}')
    port = free_port()
    options = {
        "Port": str(port),
        "ListenAddress": "127.0.0.1",
        "HostKey": str(key),
        "AuthorizedKeysFile": str(allowed),
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "forced-commands-only",
        "StrictModes": "no",
        "PidFile": "none",
        "UsePAM": "no",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    log = (folder / "sshd.log").open("wb")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    try:
        until("sshd to listen", lambda: b"Server listening" in (folder / "sshd.log").read_bytes())
        yield SshServer(port, pwd.getpwuid(os.getuid()).pw_name, deploy.read_text(), key)
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def make_key(path: Path, passphrase: str = "") -> Path:
    """A new key, as `ssh-keygen` makes it."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def _command_lines() -> list[str]:
    """Of all processes of git and ssh on this machine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "git" in text or "ssh" in text:
            found.append(text)
    return found
