"""The command line on a real store. Commands run in this process."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from typer.testing import CliRunner, Result

from kubeprobe import logs, shell
from kubeprobe.cli import app
from kubeprobe.store import Store
from tests.harness.kubeconfig import KUBECONFIG

CATALOG = """\
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: dns}
spec:
  image: docker.io/kubeprobe/probes:dev
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: dns}
spec: {template: dns, kind: blackbox, owner: network, severity: critical}
---
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: core}
spec:
  cases: [dns]
  clusters: {selector: {matchLabels: {region: eu}}}
  on: {periodic: {every: 5m}, change: {component: coredns}}
"""


@dataclass
class CommandLine:
    """Runs `kubeprobe ...`; files are written below `folder`."""

    folder: Path

    def __call__(self, *arguments: str, code: int = 0, typed: str | None = None) -> Result:
        """Run a command and check its exit code."""
        result = CliRunner().invoke(app, list(arguments), input=typed)
        unexpected = result.exception and not isinstance(result.exception, SystemExit)
        if unexpected:
            raise result.exception
        assert result.exit_code == code, f"{result.exit_code}: {result.stdout}{result.stderr}"
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The parsed output of a command with `--output json`."""
        return json.loads(self(*arguments, "--output", "json", code=code).stdout)

    def write(self, name: str, text: str) -> str:
        """Write a file for a command; returns its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def add_cluster(self, name: str, *labels: str) -> None:
        """Add an unreachable cluster."""
        file = self.write("kubeconfig", KUBECONFIG)
        self("cluster", "add", name, "--kubeconfig", file, *(part for text in labels for part in ("--label", text)))

    def apply(self, text: str = CATALOG) -> Result:
        """Apply a catalog."""
        return self("apply", "-f", self.write("catalog/all.yaml", text))


@pytest.fixture(autouse=True)
def quiet_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Configure logs without caching loggers for later tests."""

    def configure(form: str = "console", level: int = logging.INFO, *, process: str = "cli") -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=False)

    monkeypatch.setattr(logs, "configure_logs", configure)
    yield
    structlog.reset_defaults()


@pytest.fixture
def kubeprobe(
    store: Store, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """The command line of an installation with an empty store and an unavailable broker."""
    monkeypatch.setenv("KUBEPROBE_DATABASE_URL", database_url)
    monkeypatch.setenv("KUBEPROBE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KUBEPROBE_BROKER_URL", "redis://127.0.0.1:1/0")
    shell.installation.cache_clear()
    yield CommandLine(tmp_path)
    if shell.installation.cache_info().currsize:
        shell.installation().store.close()
        shell.installation.cache_clear()


@pytest.fixture
def ready(kubeprobe: CommandLine) -> CommandLine:
    """`kubeprobe` with two clusters, prod-1 in eu and prod-2 in us, and a case bound to those in eu."""
    kubeprobe.add_cluster("prod-1", "region=eu")
    kubeprobe.add_cluster("prod-2", "region=us")
    kubeprobe.apply()
    return kubeprobe


@pytest.fixture
def queued(valkey: str) -> Callable[[str], int]:
    """Returns the number of messages in a queue of the broker."""
    broker = redis.Redis.from_url(valkey)
    return broker.llen
