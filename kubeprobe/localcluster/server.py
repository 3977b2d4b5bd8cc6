"""Starts and stops a local cluster: the API server, the plain cluster, and its fleet."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from aiohttp import web

from kubeprobe.localcluster.cluster import Cluster
from kubeprobe.localcluster.fleet import PREFIX, Fleet
from kubeprobe.localcluster.http import ApiServer
from kubeprobe.localcluster.images import Image, ImageTable, built_in_images
from kubeprobe.localcluster.kubelet.host import NODE, Backoff, Host, pods_directory
from kubeprobe.localcluster.kubelet.kubelet import Kubelet
from kubeprobe.localcluster.manifests import create_from
from kubeprobe.localcluster.simulate import DEFAULT_SCRIPT, Script, Simulator
from kubeprobe.localcluster.store import Store
from kubeprobe.localcluster.tokens import Tokens, url_with_token, write_kubeconfig

_SHUTDOWN_SECONDS = 1.0
_BACKLOG = 1024
_FORGET_EVERY_SECONDS = 5.0
_SIMULATED_HISTORY = {"history": 100, "history_seconds": 10.0}
PLAIN_CONTEXT = "local"
KUBECTL_CONTEXT = "kubectl"
"""The plain cluster at an address that contains the token: kubectl sends none over plain HTTP."""


@dataclass(frozen=True, slots=True)
class LocalClusterSettings:
    """Options of a local cluster; the defaults are those of `python -m kubeprobe.localcluster`."""

    host: str = "127.0.0.1"
    port: int = 0
    directory: Path | None = None
    """For the files of containers; by default a temporary directory, removed at the end."""
    kubeconfig: Path | None = None
    """The file to write the kubeconfig to; by default `kubeconfig` in `directory`."""
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(24))
    """The bearer token that clients must send; None accepts every request."""
    namespaces: tuple[str, ...] = ("kubeprobe",)
    """Namespaces to create at the start, in addition to `default`, `kube-system` and so on."""
    manifests: Sequence[Path] = ()
    """YAML files of objects to create in the plain cluster at the start."""
    images: Sequence[Image] = ()
    """In addition to the built-in ones; of two with the same name, this one is used."""
    image_listing: Path | None = None
    """A file of more images, one NAME=DIR per line, read at every pull (`images.add_to_listing`)."""
    pythonpath: tuple[str, ...] | None = None
    """Where the built-in probes and the client library are; by default, where they are installed."""
    clusters: int = 0
    script: Script = DEFAULT_SCRIPT
    bookmark_seconds: float = 60.0
    history: int = 1000
    backoff: Backoff = field(default_factory=Backoff)


class LocalCluster:
    """A running local cluster. Use as an async context manager, or call `start` and `stop`."""

    def __init__(self, settings: LocalClusterSettings | None = None) -> None:
        self.settings = settings or LocalClusterSettings()
        self._temporary = self.settings.directory is None
        self.directory = self.settings.directory or Path(tempfile.mkdtemp(prefix="localcluster-"))
        pods = pods_directory(self.directory)
        pods.mkdir(mode=0o700, parents=True, exist_ok=True)  # with their secret volumes
        pods.chmod(0o700)
        self.kubeconfig = self.settings.kubeconfig or self.directory / "kubeconfig"
        self.url = ""
        self._instance = uuid4().hex
        self._tokens = Tokens(self.settings.token)
        self._runner: web.ServerRunner | None = None
        self._fleet: Fleet | None = None
        self._forgetting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def instance(self) -> str:
        """The id in the environment of all processes of this cluster (see `kubelet.process.MARK`)."""
        return self._instance

    @property
    def contexts(self) -> dict[str, str]:
        """The URL of each cluster by its context's name; the plain one first."""
        names = self._fleet.names if self._fleet else []
        return {PLAIN_CONTEXT: self.url, **{name: f"{self.url}{PREFIX}{name}" for name in names}}

    async def start(self) -> None:
        """Listen, and write the kubeconfig. Raises `OSError` when the port is taken."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        plain = Cluster(namespaces=self.settings.namespaces, store=Store(history=self.settings.history))
        plain.add_node(NODE, memory_bytes=_memory_bytes())
        plain.runner = kubelet = Kubelet(self._host(plain))
        create_from(plain, self.settings.manifests)
        self._fleet = Fleet(plain, self.settings.clusters, self._simulated)
        api = ApiServer(self._fleet, self._tokens, bookmark_seconds=self.settings.bookmark_seconds)
        # A watch whose client disconnected ends at once, not at its timeout.
        server = web.Server(api.handle, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.settings.host, self.settings.port, backlog=_BACKLOG).start()
        self.url = f"http://{self.settings.host}:{self._runner.addresses[0][1]}"
        kubelet.start()
        token = self.settings.token
        kubectl = {KUBECTL_CONTEXT: url_with_token(self.url, token)}
        write_kubeconfig(self.kubeconfig, self.contexts | kubectl, token)
        self._forgetting = asyncio.create_task(self._forget_old_history())

    async def stop(self) -> None:
        """End all pods and watches, close the port, remove temporary files."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        for cluster in self._fleet or ():
            cluster.store.close()
        if self._runner is not None:
            await self._runner.cleanup()
        for cluster in self._fleet or ():
            await cluster.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def compact(self) -> None:
        """Drop the history of all clusters: watches from older versions get 410."""
        for cluster in self._fleet or ():
            cluster.store.compact()

    def _host(self, cluster: Cluster) -> Host:
        images = ImageTable(
            [*built_in_images(self.settings.pythonpath), *self.settings.images], self.settings.image_listing
        )
        return Host(
            registry=cluster.registry,
            images=images,
            directory=self.directory,
            tokens=self._tokens,
            url=lambda: self.url,
            backoff=self.settings.backoff,
            instance=self._instance,
        )

    def _simulated(self, _name: str) -> Cluster:
        store = Store(**_SIMULATED_HISTORY)  # type: ignore[arg-type]
        cluster = Cluster(namespaces=self.settings.namespaces, store=store)
        cluster.runner = Simulator(cluster.registry, self.settings.script)
        return cluster

    async def _forget_old_history(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_EVERY_SECONDS)
            for cluster in list(self._fleet or ()):
                cluster.store.forget_old()


def _memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
