"""The same tests for two clusters: the local one, and a real one if KUBEPROBE_TEST_REAL_KUBECONFIG is set."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from tests.contract.contract_api import Api
from tests.harness.need import lacking

REAL = "KUBEPROBE_TEST_REAL_KUBECONFIG"


@pytest.fixture(scope="session")
def local_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("localcluster")
    kubeconfig = directory / "kubeconfig"
    command = [sys.executable, "-m", "kubeprobe.localcluster", "--dir", str(directory), "--kubeconfig", str(kubeconfig)]
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "ready" in line, f"the local cluster did not start: {line!r}"
    yield kubeconfig
    process.terminate()
    process.wait(timeout=20)
    process.stdout.close()


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.local), pytest.param("real", marks=pytest.mark.real)])
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    if request.param == "local":
        path: Path = request.getfixturevalue("local_kubeconfig")
        return path
    path_of_real = os.environ.get(REAL) or lacking(
        f"{REAL} is not set to the kubeconfig of a real cluster (see testbed/README.md)"
    )
    return Path(path_of_real)


@pytest.fixture
async def api(kubeconfig: Path) -> AsyncIterator[Api]:
    configuration = Configuration()
    load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    headers = {}
    if token := configuration.get_api_key_with_prefix("BearerToken", alias="authorization"):
        headers["Authorization"] = token
    async with (
        aiohttp.ClientSession(connector=_connector(configuration, authenticated=True), headers=headers) as session,
        aiohttp.ClientSession(connector=_connector(configuration, authenticated=False)) as anonymous,
    ):
        yield Api(session, configuration.host, kubeconfig, anonymous)
        # TLS transports close in the next iterations of the event loop.
        await asyncio.sleep(0)


def _connector(configuration: Configuration, *, authenticated: bool) -> aiohttp.TCPConnector:
    context: ssl.SSLContext | bool = True
    if configuration.host.startswith("https"):
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if authenticated and configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return aiohttp.TCPConnector(ssl=context, limit=0)


@pytest.fixture
async def namespace(api: Api) -> AsyncIterator[str]:
    """A namespace of the test's own, once its default service account exists."""
    name = f"contract-{uuid4().hex[:8]}"
    await api.post("/api/v1/namespaces", {"metadata": {"name": name}}, expect=201)
    await api.until(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata.name": "default"}, lambda _: True)
    yield name
    await api.delete(f"/api/v1/namespaces/{name}")
