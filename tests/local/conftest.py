"""Local clusters inside the test's process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kubeprobe.localcluster import LocalCluster, LocalClusterSettings
from tests.contract.contract_api import Api


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """A function that starts a local cluster with the given settings and returns it with a client."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> tuple[LocalCluster, Api]:
            chosen = LocalClusterSettings(directory=tmp_path / "cluster", **settings)
            cluster = await stack.enter_async_context(LocalCluster(chosen))
            headers = {"Authorization": f"Bearer {chosen.token}"}
            connector = aiohttp.TCPConnector(limit=0)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, headers=headers))
            anonymous = await stack.enter_async_context(aiohttp.ClientSession())
            return cluster, Api(session, cluster.url, cluster.kubeconfig, anonymous)

        yield start
