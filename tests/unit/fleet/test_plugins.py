"""Exec plugins: few at a time, shared by clusters, bounded in time and output, and without our own environment."""

import asyncio
import os
import stat
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from kubeprobe.fleet import execplugin, plugincache
from kubeprobe.fleet.access import AccessError, AccessSource
from kubeprobe.fleet.errors import QueueTimeoutError
from kubeprobe.fleet.execplugin import PluginCredentials, PluginError, run_plugin
from kubeprobe.fleet.kubeconfig_model import ClusterFields, ExecFields
from kubeprobe.fleet.plugincache import PARALLEL_PLUGINS, PAUSE, PluginCache
from tests.harness.heldpipe import held_pipe
from tests.unit.fleet.certificates import Authority
from tests.unit.fleet.rows import connection_to
from tests.unit.fleet.test_access import VERSION, Clock

TOKEN = PluginCredentials("t", None, None, None)
CLUSTER = ClusterFields(server="https://h")


def shell(command: str, folder: Path) -> ExecFields:
    """A plugin that is a shell script."""
    script = folder / "plugin"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return ExecFields.model_validate({"command": str(script), "apiVersion": VERSION})


def named(name: str, **more: object) -> ExecFields:
    return ExecFields.model_validate({"command": name, "apiVersion": VERSION, **more})


class Plugins:
    """Counts runs; each waits until it may end."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.running = self.most = 0
        self.may_end = threading.Event()
        self.result: PluginCredentials | PluginError = TOKEN
        self._lock = threading.Lock()

    def __call__(self, plugin: ExecFields, _: ClusterFields) -> PluginCredentials:
        with self._lock:
            self.runs.append(plugin.command)
            self.running += 1
            self.most = max(self.most, self.running)
        self.may_end.wait(10)
        with self._lock:
            self.running -= 1
        if isinstance(self.result, PluginError):
            raise self.result
        return self.result


@pytest.fixture
def plugins() -> Plugins:
    return Plugins()


async def test_clusters_with_the_same_plugin_share_its_credentials(plugins: Plugins) -> None:
    cache = PluginCache(plugins)
    connection = connection_to("https://h", user={"exec": {"command": "p", "apiVersion": VERSION}})
    sources = [AccessSource(lambda: connection, plugins=cache) for _ in range(300)]
    plugins.may_end.set()
    found = await asyncio.gather(*(each.current() for each in sources))
    assert {each.authorization for each in found} == {"Bearer t"}
    assert plugins.runs == ["p"]


async def test_300_plugins_do_not_run_at_once(plugins: Plugins) -> None:
    cache = PluginCache(plugins)
    waiting = [asyncio.ensure_future(cache.get(named(f"p{n}"), CLUSTER, Clock())) for n in range(300)]
    await asyncio.sleep(0)
    plugins.may_end.set()
    await asyncio.gather(*waiting)
    assert len(set(plugins.runs)) == len(plugins.runs) == 300
    assert plugins.most <= PARALLEL_PLUGINS


async def test_plugins_that_take_all_threads_are_no_failure_of_another(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PluginCache(plugins, parallel=1)
    busy = asyncio.ensure_future(cache.get(named("busy"), CLUSTER, Clock()))
    await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr(plugincache, "PLUGIN_TIMEOUT_S", 0.02)
        patch.setattr(plugincache, "_QUEUE_S", 0.03)
        with pytest.raises(QueueTimeoutError, match=r"all threads for exec-plugins were busy for 0.05 s"):
            await cache.get(named("another"), CLUSTER, Clock())
    plugins.may_end.set()
    assert await busy is TOKEN
    assert await cache.get(named("another"), CLUSTER, Clock()) is TOKEN


async def test_the_cluster_is_part_of_the_request_only_if_the_plugin_gets_it(plugins: Plugins) -> None:
    cache, clock = PluginCache(plugins), Clock()
    plugins.may_end.set()
    for server in ("https://a", "https://b"):
        await cache.get(named("p"), ClusterFields(server=server), clock)
        await cache.get(named("q", provideClusterInfo=True), ClusterFields(server=server), clock)
    assert plugins.runs == ["p", "q", "q"]


async def test_a_failure_is_not_repeated_by_every_cluster(plugins: Plugins) -> None:
    cache, clock = PluginCache(plugins), Clock()
    plugins.may_end.set()
    plugins.result = PluginError("not logged in")
    for _ in range(5):
        with pytest.raises(PluginError, match="not logged in"):
            await cache.get(named("p"), CLUSTER, clock)
    assert len(plugins.runs) == 1
    clock.now += PAUSE
    plugins.result = TOKEN
    assert await cache.get(named("p"), CLUSTER, clock) is TOKEN


async def test_refused_credentials_are_replaced_but_not_at_every_request(plugins: Plugins) -> None:
    cache, clock = PluginCache(plugins), Clock()
    plugins.may_end.set()
    first = await cache.get(named("p"), CLUSTER, clock)
    cache.discard(named("p"), CLUSTER, first, clock.now)
    assert await cache.get(named("p"), CLUSTER, clock) is first, "new credentials are not replaced"
    clock.now += PAUSE
    plugins.result = PluginCredentials("second", None, None, None)
    cache.discard(named("p"), CLUSTER, first, clock.now)
    second = await cache.get(named("p"), CLUSTER, clock)
    clock.now += PAUSE
    cache.discard(named("p"), CLUSTER, first, clock.now)
    assert await cache.get(named("p"), CLUSTER, clock) is second, "another cluster has replaced them"
    assert len(plugins.runs) == 2


async def test_credentials_that_have_expired_are_an_error(plugins: Plugins) -> None:
    cache, clock = PluginCache(plugins), Clock()
    plugins.may_end.set()
    plugins.result = PluginCredentials("t", None, None, clock.now - timedelta(seconds=1))
    with pytest.raises(PluginError, match=r"returned credentials that expired at 2026-11-23 11:59:59Z; compare"):
        await cache.get(named("p"), CLUSTER, clock)


def test_a_plugin_without_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=f"wrote more than {execplugin.OUTPUT_LIMIT} bytes"):
        run_plugin(shell("cat /dev/zero", tmp_path), CLUSTER)


def test_errors_without_end_are_cut(tmp_path: Path) -> None:
    command = "head -c 10000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 7"
    with pytest.raises(PluginError, match=r"exited with code 7: x+the end$") as caught:
        run_plugin(shell(command, tmp_path), CLUSTER)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_plugin_that_times_out_ends_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes when the child has written to stderr, however long it takes to start."""
    before_deadline = iter((0.0, 0.0))
    monkeypatch.setattr(execplugin, "PLUGIN_TIMEOUT_S", 600.0)
    monkeypatch.setattr(execplugin, "time", SimpleNamespace(monotonic=lambda: next(before_deadline, 601.0)))
    with held_pipe(tmp_path) as child:
        command = f"(echo started; echo started >&2; exec sleep 600) > {child.path} & wait"
        with pytest.raises(PluginError, match="timed out after 600 s"):
            run_plugin(shell(command, tmp_path), CLUSTER)
        child.wait_for_start()
        child.wait_for_end()


def test_what_loads_code_into_kubeprobe_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "KUBEPROBE_SECRET_KEY"):
        monkeypatch.setenv(name, "s3cret")
    command = f"env > {tmp_path}/env; exit 1"
    with pytest.raises(PluginError):
        run_plugin(shell(command, tmp_path), CLUSTER)
    assert "s3cret" not in (tmp_path / "env").read_text()


def test_a_bare_name_is_searched_in_our_path_and_not_in_that_of_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = shell("exit 9", tmp_path).model_copy(
        update={"command": "plugin", "env": named("p", env=[{"name": "PATH", "value": "/nowhere"}]).env}
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(PluginError, match="exited with code 9"):
        run_plugin(plugin, CLUSTER)


async def test_a_key_with_a_passphrase_from_a_plugin_asks_nobody(plugins: Plugins) -> None:
    pair = Authority().issue("kubeprobe").protected("passphrase")
    plugins.result = PluginCredentials(None, pair.certificate, pair.key, None)
    plugins.may_end.set()
    connection = connection_to("https://h", user={"exec": {"command": "p", "apiVersion": VERSION}})
    with pytest.raises(AccessError, match="no credentials: the client key has a passphrase; expected a key without"):
        await AccessSource(lambda: connection, plugins=PluginCache(plugins)).current()
