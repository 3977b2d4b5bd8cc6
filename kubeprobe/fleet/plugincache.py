"""The credentials of exec plugins: clusters with the same plugin share them, and few plugins run at a time.

One cache per process, as in client-go: a thousand clusters of one account need one token. What failed a moment ago is
not run again at once, nor is what the cluster refused a moment after it was made.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from kubeprobe.clock import Clock
from kubeprobe.fleet.blocking import BlockingCalls
from kubeprobe.fleet.errors import QueueTimeoutError
from kubeprobe.fleet.execplugin import PLUGIN_TIMEOUT_S, PluginCredentials, PluginError, run_plugin
from kubeprobe.fleet.kubeconfig_model import ClusterFields, ExecFields

PARALLEL_PLUGINS = 8
EXPIRY_MARGIN = timedelta(seconds=10)
"""The plugin is run again so long before its credentials expire."""
PAUSE = timedelta(seconds=10)
"""How long a failure is returned again, and credentials are kept though a cluster refused them."""
_QUEUE_S = 60.0
"""The time limit of waiting for other plugins; a request's own limit is shorter."""
_MOST = 10_000
"""Entries; at more, all are removed: no installation has so many plugins."""

Run = Callable[[ExecFields, ClusterFields], PluginCredentials]


@dataclass(frozen=True)
class _Entry:
    """What a plugin returned."""

    at: datetime
    result: PluginCredentials | PluginError

    def is_fresh(self, now: datetime) -> bool:
        if isinstance(self.result, PluginError):
            return now < self.at + PAUSE
        expires = self.result.expires_at
        return expires is None or now < max(expires - EXPIRY_MARGIN, min(expires, self.at + PAUSE))


class PluginCache:
    """Credentials by plugin. `run` blocks."""

    def __init__(self, run: Run = run_plugin, parallel: int = PARALLEL_PLUGINS) -> None:
        self._run = run
        self._calls: BlockingCalls[_Entry] = BlockingCalls(
            "exec-plugins", limit=parallel, slow_limit=parallel, slow_after_s=PLUGIN_TIMEOUT_S
        )
        self._lock = threading.Lock()
        self._entries: dict[bytes, _Entry] = {}

    async def get(self, plugin: ExecFields, cluster: ClusterFields, clock: Clock) -> PluginCredentials:
        """Credentials that are valid now. Raises PluginError; LocalResourceError if KubeProbe has no thread for it."""
        key = _key(plugin, cluster)
        with self._lock:
            entry = self._entries.get(key)
        if entry is None or not entry.is_fresh(clock()):
            limit_s = PLUGIN_TIMEOUT_S + _QUEUE_S
            try:
                entry = await self._calls.run(key, lambda: self._renew(key, plugin, cluster, clock), limit_s)
            except QueueTimeoutError:
                raise
            except TimeoutError:
                raise PluginError(f"exec plugin {plugin.command!r} did not end within {limit_s:g} s") from None
        if isinstance(entry.result, PluginError):
            raise PluginError(str(entry.result)) from entry.result
        return entry.result

    def discard(self, plugin: ExecFields, cluster: ClusterFields, refused: PluginCredentials, now: datetime) -> None:
        """After a 401: the next `get` runs the plugin again, unless these credentials are new or replaced."""
        key = _key(plugin, cluster)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.result is refused and now >= entry.at + PAUSE:
                del self._entries[key]

    def _renew(self, key: bytes, plugin: ExecFields, cluster: ClusterFields, clock: Clock) -> _Entry:
        try:
            result: PluginCredentials | PluginError = self._run(plugin, cluster)
        except PluginError as error:
            result = error
        now = clock()
        if not isinstance(result, PluginError) and result.expires_at and result.expires_at <= now:
            expired = f"exec plugin {plugin.command!r} returned credentials that expired at {result.expires_at:%F %T}Z"
            result = PluginError(f"{expired}; compare the clocks, and log in again")
        entry = _Entry(now, result)
        with self._lock:
            if len(self._entries) >= _MOST:
                self._entries.clear()
            self._entries[key] = entry
        return entry


def _key(plugin: ExecFields, cluster: ClusterFields) -> bytes:
    """Equal for plugins that get the same input."""
    info = cluster.model_dump(by_alias=True, mode="json") if plugin.provide_cluster_info else None
    return orjson.dumps([plugin.model_dump(by_alias=True), info], option=orjson.OPT_SORT_KEYS)


PLUGINS = PluginCache()
"""Of this process."""
