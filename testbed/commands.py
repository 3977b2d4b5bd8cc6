"""Runs other programs, with clear errors. Used by every other module."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from testbed.instance import TestbedError

TAIL_LINES = 15


def run(
    command: list[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
) -> str:
    """Run a program and return its standard output. Raises TestbedError with the last lines of its messages."""
    try:
        done = subprocess.run(
            command, input=stdin, env=env, cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.exists():
            raise TestbedError(f"directory {cwd} is missing, needed to run {command[0]}") from error
        raise TestbedError(f"program {command[0]} is missing: run `python -m testbed install`") from error
    except subprocess.TimeoutExpired as error:
        raise TestbedError(f"`{' '.join(command)}` did not end within {timeout:g} s") from error
    if done.returncode != 0:
        raise TestbedError(
            f"`{' '.join(command)}` ended with exit code {done.returncode}:\n{tail(done.stderr or done.stdout)}"
        )
    return done.stdout


def succeeds(command: list[str], *, timeout: float = 30) -> bool:
    """Whether a program can be run and ends with exit code 0 within `timeout` seconds."""
    try:
        run(command, timeout=timeout)
    except TestbedError:
        return False
    return True


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log or of a program's messages, indented."""
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])
