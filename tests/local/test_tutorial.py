"""Runs every command of docs/tutorial.md in a shell and compares the output with the text."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.ports import free_port
from tests.harness.wait import until

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVES = re.compile(r"python3 -m http\.server (\d+) .*&")
"""A command that starts a server in the background."""
# Parts that differ between runs: run ids, times, durations, versions.
VARYING = r"01[0-9a-z]{24}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|(?<![\w.])[\d.]+m?s\b|version \d+"
PATIENCE_S = 120.0
"""The text says `within ten seconds`; a machine that runs tests may be slower."""


@dataclass(frozen=True)
class Command:
    """A command, and the lines that the tutorial shows below it."""

    typed: str
    shown: tuple[str, ...]

    @property
    def is_repeatable(self) -> bool:
        """Whether it is repeated until it prints what is expected."""
        return self.typed.startswith(("kubeprobe runs", "grep"))


class Shell:
    """The second terminal of the tutorial."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._done = 0
        self._process = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.type("set -m")

    def type(self, command: str) -> str:
        """Run a command; returns its output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._done += 1
        mark = f"=== done {self._done} ==="
        self._process.stdin.write(f"{command}\necho '{mark}'\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.strip() == mark:
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended at {command!r}:\n{''.join(lines)}")

    def close(self) -> None:
        """End all processes of the terminal."""
        self.type("kill $(jobs -p) 2>/dev/null; wait")
        self._process.communicate("exit\n", timeout=20)


@pytest.fixture
def env() -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("KUBEPROBE_")}
    return found | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"}


@pytest.fixture
def shell(tmp_path: Path, env: dict[str, str]) -> Iterator[Shell]:
    opened = Shell(tmp_path, env)
    yield opened
    opened.close()


def test_tutorial_commands_print_what_the_tutorial_shows(
    shell: Shell, first_terminal: "FirstTerminal", tutorial: str
) -> None:
    begin, *others = commands(tutorial)
    assert begin.typed == "make run"
    until("KubeProbe to be up", lambda: not missing(begin, first_terminal.printed()), PATIENCE_S)
    for command in others:
        follow(shell, command, first_terminal)
    until("its verdicts in the first terminal", lambda: "  shop-front  " in first_terminal.printed(), PATIENCE_S)


def follow(shell: Shell, command: Command, first_terminal: "FirstTerminal") -> None:
    """Run a command, repeatedly if it is repeatable, until it prints what the tutorial shows."""
    deadline = time.monotonic() + (PATIENCE_S if command.is_repeatable else 0)
    while lacking := missing(command, printed := shell.type(command.typed)):
        details = f"$ {command.typed}\n{printed}\nlacks:\n{chr(10).join(lacking)}\n\n{first_terminal.output_and_logs()}"
        assert time.monotonic() < deadline, details
    if server := SERVES.fullmatch(command.typed):
        until("the server to listen", lambda: is_served(int(server[1])), PATIENCE_S)


def is_served(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class FirstTerminal:
    """The terminal in which KubeProbe runs, as with `make run`."""

    folder: Path

    def printed(self) -> str:
        return (self.folder / "up.out").read_text()

    def output_and_logs(self) -> str:
        """For the message of a failed test."""
        logs = [
            self.folder / ".kubeprobe" / "logs" / f"{name}.log" for name in ("launcher", "responder", "localcluster")
        ]
        return self.printed() + "".join(f"\n{log}:\n{log.read_text()[-1500:]}" for log in logs if log.exists())


@pytest.fixture
def first_terminal(tmp_path: Path, env: dict[str, str]) -> Iterator[FirstTerminal]:
    with (tmp_path / "up.out").open("wb") as output:
        process = subprocess.Popen(
            ["kubeprobe", "up"], cwd=tmp_path, env=env, stdout=output, stderr=output, start_new_session=True
        )
    yield FirstTerminal(tmp_path)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)


@pytest.fixture
def tutorial(tmp_path: Path) -> str:
    """The tutorial's text, with free ports and the test's folder."""
    text = TUTORIAL.read_text()
    for shown, here in {"18080": free_port(), "18081": free_port(), "/home/you/kubeprobe": tmp_path}.items():
        text = text.replace(shown, str(here))
    return text


def commands(tutorial: str) -> list[Command]:
    """The commands of the tutorial, in order."""
    found: list[Command] = []
    for block in BLOCK.findall(tutorial):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            typed, *shown = part.splitlines()
            found.append(Command(typed, tuple(shown)))
    return found


def missing(command: Command, printed: str) -> list[str]:
    """The shown lines that were not printed. The widths of columns are ignored."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    shown = [" ".join(line.split()) for line in command.shown if line != "..."]
    return [line for line in shown if not any(re.fullmatch(pattern(line), found) for found in lines)]


def pattern(line: str) -> str:
    """A regular expression for a shown line, with its varying parts."""
    fixed = re.split(VARYING, line)
    return f"(?:{VARYING})".join(map(re.escape, fixed))
