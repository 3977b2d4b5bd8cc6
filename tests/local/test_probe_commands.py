"""`kubeprobe probe new | try | register` on the local cluster."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from kubeprobe import logs
from kubeprobe.cli import app
from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import Cause, ClusterError
from probes._access import find_access
from probes._api import Api
from tests.harness.need import lacking
from tests.harness.wait import until

PROBES = Path(__file__).parents[2] / "probes"
CommandLine = Callable[..., Result]


@pytest.fixture
def kubeprobe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """Runs `kubeprobe ...` in an empty folder and checks its exit code."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KUBEPROBE_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, f"{done.exit_code}: {done.stdout}{done.stderr}"
        return done

    def configure(form: str = "console", level: int = logging.INFO, *, process: str = "cli") -> None:
        """Configure logs without caching loggers for later tests."""
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=False)

    monkeypatch.setattr(logs, "configure_logs", configure)
    yield run
    structlog.reset_defaults()


@pytest.fixture
def running_cluster(tmp_path: Path) -> Iterator[Path]:
    """A local cluster as started by `kubeprobe up`; yields its data_dir."""
    data_dir = tmp_path / ".kubeprobe"
    command = [sys.executable, "-m", "kubeprobe.localcluster", "--kubeconfig", data_dir / "localcluster.kubeconfig"]
    with subprocess.Popen(
        [*command, "--images", data_dir / "localcluster.images"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        yield data_dir
        process.terminate()


@pytest.mark.parametrize(
    ("language", "steps", "own_tests"),
    [
        ("python", ["resolve"], [sys.executable, "-m", "unittest", "tests/test_probe.py"]),
        ("shell", ["write", "read"], ["sh", "tests/test_probe.sh"]),
        ("go", ["resolve"], ["go", "test", "./..."]),
    ],
)
def test_a_new_probe_passes_and_so_do_its_own_tests(
    kubeprobe: CommandLine, tmp_path: Path, language: str, steps: list[str], own_tests: list[str]
) -> None:
    if shutil.which(own_tests[0]) is None:
        lacking(f"{own_tests[0]} is not installed")
    kubeprobe("probe", "new", "shop-front", "--language", language)
    tried = kubeprobe("probe", "try", "shop-front")
    assert tried.stdout.splitlines()[0].split() == ["VERDICT", "CASE", "CLUSTER", "TOOK", "REASON", "RUN"]
    assert [line.split()[:2] for line in tried.stdout.splitlines()[2:]] == [["ok", step] for step in steps]
    assert not (tmp_path / ".kubeprobe").exists()  # nothing is registered or kept
    subprocess.run(own_tests, cwd=tmp_path / "shop-front", check=True, capture_output=True, timeout=600)


def test_a_trial_shows_what_failed_and_the_log(kubeprobe: CommandLine) -> None:
    kubeprobe("probe", "new", "shop-front")
    tried = kubeprobe("probe", "try", "shop-front", "-p", "NAME=nowhere.invalid", code=1)
    assert "resolve: nowhere.invalid has no address" in tried.stdout
    assert "failed  resolve" in tried.stdout
    assert "Log\nFAIL\n" in tried.stdout


@pytest.mark.parametrize("cause", [Cause.GONE, Cause.CLUSTER_UNREACHABLE])
def test_a_trial_survives_a_failed_watch(kubeprobe: CommandLine, monkeypatch: pytest.MonkeyPatch, cause: Cause) -> None:
    watch, causes = ClusterApi.watch_objects, [cause]

    async def fail_at_first(self: ClusterApi, *args: Any) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        if causes:
            raise ClusterError(causes.pop(), "broken by the test")
        async for event in watch(self, *args):
            yield event

    monkeypatch.setattr(ClusterApi, "watch_objects", fail_at_first)
    kubeprobe("probe", "new", "shop-front")
    assert "ok  resolve" in kubeprobe("probe", "try", "shop-front").stdout
    assert not causes


def test_a_trial_reports_a_forbidden_watch_and_deletes_its_pod(
    kubeprobe: CommandLine, running_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: ClusterApi, *_: Any) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        raise ClusterError(Cause.FORBIDDEN, "u may not watch pods", where=self.cluster)
        yield

    monkeypatch.setattr(ClusterApi, "watch_objects", refuse)
    kubeprobe("probe", "new", "shop-front")
    assert "may not watch pods" in kubeprobe("probe", "try", "shop-front", code=2).stderr
    access = find_access({"KUBECONFIG": str(running_cluster / "localcluster.kubeconfig")})
    with Api(access) as api:
        until("no pod to be left", lambda: not api.get("/api/v1/namespaces/kubeprobe/pods")["items"])


def test_an_unknown_parameter_is_a_warning(kubeprobe: CommandLine) -> None:
    kubeprobe("probe", "new", "shop-front")
    tried = kubeprobe("probe", "try", "shop-front", "-p", "PROT=18081", "-p", "NAME=localhost")
    assert "shop-front/catalog.yaml names no parameter 'PROT'. Did you mean 'PORT'?" in tried.stderr
    assert "'NAME'" not in tried.stderr


def test_a_probe_can_be_pinned_to_a_node(kubeprobe: CommandLine) -> None:
    kubeprobe("probe", "new", "node-disk", "--language", "shell")
    tried = kubeprobe("probe", "try", "node-disk", "--node", "local")
    assert tried.stdout.splitlines()[1].split()[:3] == ["pass", "node-disk", "local/local"]


def test_a_probe_that_gives_up_is_unknown(kubeprobe: CommandLine) -> None:
    kubeprobe("probe", "new", "shop-front", "--language", "shell")
    tried = kubeprobe("probe", "try", "shop-front", "-p", "DIRECTORY=", "--output", "json", code=3)
    [run] = json.loads(tried.stdout)
    assert (run["verdict"], run["reason"]) == ("unknown", "ProbeGaveUp")
    assert run["message"] == "parameter DIRECTORY is not set"


def test_a_running_local_cluster_is_used_with_the_current_folder(
    kubeprobe: CommandLine, tmp_path: Path, running_cluster: Path
) -> None:
    kubeprobe("probe", "new", "shop-front")
    kubeprobe("probe", "try", "shop-front")
    assert f"shop-front:dev={tmp_path / 'shop-front'}" in (running_cluster / "localcluster.images").read_text()
    with (tmp_path / "shop-front" / "probe.py").open("w") as program:
        program.write("from kubeprobe_client import report_failure\nreport_failure(['changed'])\n")
    assert "changed" in kubeprobe("probe", "try", "shop-front", code=1).stdout


def test_a_built_in_probe_that_creates_pods_can_be_tried(kubeprobe: CommandLine) -> None:
    tried = kubeprobe("probe", "try", str(PROBES / "pod_lifecycle"))
    assert "ok  gone" in tried.stdout


def test_registering_shows_added_entries_and_a_changed_digest(kubeprobe: CommandLine) -> None:
    kubeprobe("migrate")
    kubeprobe("probe", "new", "shop-front")
    shown = kubeprobe("probe", "register", "shop-front", "--dry-run")
    assert "+ ProbeCase/shop-front" in shown.stdout
    assert "Nothing was changed." in shown.stdout

    first = kubeprobe("probe", "register", "shop-front")
    assert "+ ProbeTemplate/shop-front" in first.stdout
    assert "Registered shop-front" in first.stdout
    assert "shop-front:dev is the folder shop-front, on the local cluster only" in first.stderr

    pinned = "registry.example/shop-front@sha256:" + "0" * 64
    second = kubeprobe("probe", "register", "shop-front", "--image", pinned)
    assert "~ ProbeTemplate/shop-front" in second.stdout
    assert "spec.image: shop-front:dev -> registry.example/shop-front@sha256:" in second.stdout
    assert "nothing to change" in kubeprobe("probe", "register", "shop-front", "--image", pinned).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new", "Shop_Front"), "Invalid name of a probe: 'Shop_Front' is not a valid name"),
        (("new", "shop", "--language", "cobol"), "expected go, python, shell"),
        (("new", "taken"), "taken exists and is not empty; nothing was changed"),
        (("new", "afile"), "afile is a file, where a folder is expected; nothing was changed"),
        (("new", "shop", "--dir", "afile"), "afile is a file, where a folder is expected; nothing was changed"),
        (("new", "shop", "--dir", "afile/deeper"), "afile is a file, where a folder is expected"),
        (("try", "."), "it has no catalog.yaml"),
        (("try", "taken", "-p", "KUBEPROBE_CASE=another"), "'KUBEPROBE_CASE' is reserved"),
        (("try", "taken", "-p", "NA-ME=x"), "'NA-ME' is not an environment variable name"),
        (("try", "taken", "--node", "Node_1"), "'Node_1' is not a valid node name"),
        (("try", "taken", "--node", "node-1"), "Cluster local has no node 'node-1'. Known: local."),
        (("try", "afile"), "The folder afile is not a probe"),
        (("try", "taken", "--cluster", "prod"), "There is no cluster 'prod'"),
        (("register", "taken", "--image", "shop:1"), "'shop:1' has no digest"),
        (("build", "taken", "--builder", "no-such-builder"), "expected no-such-builder to be installed"),
    ],
)
def test_each_error_has_its_message(
    kubeprobe: CommandLine, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    kubeprobe("migrate")
    kubeprobe("probe", "new", "taken")
    (tmp_path / "afile").touch()
    before = sorted(tmp_path.rglob("*"))
    assert message in kubeprobe("probe", *arguments, code=2).stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_trial_on_a_cluster_needs_a_pushed_image(kubeprobe: CommandLine, tmp_path: Path) -> None:
    kubeprobe("migrate")
    kubeprobe("probe", "new", "shop-front")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],"
        " users: [{name: u, user: {}}], contexts: [{name: c, context: {cluster: c, user: u}}]}"
    )
    kubeprobe("cluster", "add", "prod", "--kubeconfig", str(kubeconfig))
    tried = kubeprobe("probe", "try", "shop-front", "--cluster", "prod", code=2)
    assert "no image of shop-front was pushed" in tried.stderr
    assert "kubeprobe probe build shop-front --tag REGISTRY/shop-front:1 --push" in tried.stderr


def test_trials_leave_no_pod_behind(kubeprobe: CommandLine, running_cluster: Path) -> None:
    kubeprobe("probe", "new", "shop-front")
    kubeprobe("probe", "try", "shop-front")
    access = find_access({"KUBECONFIG": str(running_cluster / "localcluster.kubeconfig")})
    with Api(access) as api:
        until("no pod to be left", lambda: not api.get("/api/v1/namespaces/kubeprobe/pods")["items"])
