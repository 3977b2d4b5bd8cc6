"""The fake node of the tests, which records when each pod appeared, ended and was deleted.

Started by `installation.fake_node`, as a process of its own: its cost is the same for a bare client and for KubeProbe.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from kubeprobe.fleet.errors import Cause, ClusterError
from tests.harness.fakenode import FakeNode, api_of


@dataclass
class TimedNode(FakeNode):
    """A node on which every pod passes at once; writes a line for each deleted pod."""

    file: IO[bytes] = field(default_factory=lambda: sys.stdout.buffer)
    _seen: dict[str, float] = field(default_factory=dict)
    _ended: dict[str, float] = field(default_factory=dict)

    async def _register(self) -> None:
        await super()._register()
        await self._make_namespace()
        self._write({"ready": True})

    async def _make_namespace(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        try:
            await self.api.call("POST", "/api/v1/namespaces", body=namespace)
        except ClusterError as error:
            if error.cause is not Cause.ALREADY_EXISTS:
                raise
        while True:  # pods are refused before the service account exists
            with suppress(ClusterError):
                await self.api.call("GET", f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default")
                return
            await asyncio.sleep(0.1)

    async def _end(self, pod: Mapping[str, Any]) -> None:
        self._seen.setdefault(_uid(pod), time.time())
        await super()._end(pod)
        self._ended.setdefault(_uid(pod), time.time())

    def _on_deleted(self, pod: Mapping[str, Any]) -> None:
        uid, now = _uid(pod), time.time()
        if uid in self._seen:
            seen, ended = self._seen.pop(uid), self._ended.pop(uid, now)
            run = pod["metadata"]["labels"]["kubeprobe.io/run"]
            self._write({"run": run, "seen": seen, "ended": ended, "gone": now})

    def _write(self, entry: dict[str, Any]) -> None:
        self.file.write(orjson.dumps(entry) + b"\n")
        self.file.flush()


def _uid(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["uid"])


async def _main(kubeconfig: Path, path: Path) -> None:
    clients, cluster = api_of(kubeconfig)
    with path.open("ab") as file:
        await TimedNode(await clients.get(cluster), exit_code=lambda _: 0, file=file).run()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
