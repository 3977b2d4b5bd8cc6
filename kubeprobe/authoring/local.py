"""The local cluster for trials of a probe: the one that runs, or one started for the trial.

There, a probe's folder is its image: `localcluster` reads a list of such folders at every pull.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from cryptography.fernet import Fernet

from kubeprobe.authoring.folder import ProbeFolder
from kubeprobe.authoring.programs import run_program
from kubeprobe.catalog.setup import TargetCluster, setup_objects
from kubeprobe.errors import InvalidInputError, KubeProbeError
from kubeprobe.fleet.api import ClusterApi, ClusterClients
from kubeprobe.fleet.credentials import Cipher, local
from kubeprobe.fleet.errors import Cause, ClusterError
from kubeprobe.localcluster.images import add_to_listing
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster

LOCAL = "local"
_START_S = 30.0
_STOP_S = 15.0
_COMPILE_S = 600.0
"""Go may have to download the modules first."""


class LocalClusterError(KubeProbeError):
    """The local cluster could not be started."""


def prepare_folder(folder: ProbeFolder, settings: Settings) -> None:
    """Register the folder as an image of the local cluster; a Go probe is compiled."""
    if not folder.is_an_image:
        return
    if (folder.path / "go.mod").is_file():
        _compile(folder.path)
    add_to_listing(settings.local_images(), folder.image, folder.path)


@asynccontextmanager
async def local_cluster(
    folder: ProbeFolder, settings: Settings, now: datetime
) -> AsyncIterator[tuple[ClusterApi, Cluster]]:
    """The local cluster of this data_dir if it runs, else a temporary one."""
    cipher = Cipher(Fernet.generate_key().decode())
    clients = ClusterClients(cipher)

    def cluster_at(kubeconfig: Path) -> Cluster:
        sealed = cipher.seal(local(kubeconfig))
        return Cluster(name=LOCAL, labels={"kind": LOCAL}, connection_kind="local", connection=sealed, created_at=now)

    try:
        cluster = cluster_at(settings.local_kubeconfig())
        api = await clients.get(cluster)
        if await _is_reachable(api):
            prepare_folder(folder, settings)
            await make_accounts(api, cluster, folder)
            yield api, cluster
            return
        await clients.close()
        with tempfile.TemporaryDirectory(prefix="kubeprobe-try-") as directory:
            own = settings.model_copy(update={"data_dir": Path(directory)})
            prepare_folder(folder, own)
            async with _run_cluster(own):
                cluster = cluster_at(own.local_kubeconfig())
                api = await clients.get(cluster)
                await make_accounts(api, cluster, folder)
                yield api, cluster
    finally:
        await clients.close()


async def make_accounts(api: ClusterApi, cluster: Cluster, folder: ProbeFolder) -> None:
    """Create the ServiceAccounts that the pod names. The local cluster checks no rights, so no roles are needed."""
    target = TargetCluster(cluster.name, cluster.namespace, cluster.labels)
    for body in setup_objects(folder.catalog(), [folder.case], target):
        if body["kind"] != "ServiceAccount":
            continue
        try:
            await api.call("POST", f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts", body=body)
        except ClusterError as error:
            if error.cause is not Cause.ALREADY_EXISTS:
                raise


async def _is_reachable(api: ClusterApi) -> bool:
    try:
        await api.version()
    except ClusterError:
        return False
    return True


@asynccontextmanager
async def _run_cluster(settings: Settings) -> AsyncIterator[None]:
    command = [
        *(sys.executable, "-m", "kubeprobe.localcluster"),
        *("--dir", str(settings.data_dir / "localcluster")),
        *("--kubeconfig", str(settings.local_kubeconfig())),
        *("--images", str(settings.local_images())),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        try:
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            raise LocalClusterError(f"the local cluster did not start within {_START_S:g} s") from None
        if b"ready" not in line:
            raise LocalClusterError("the local cluster did not start; see its output above")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _compile(path: Path) -> None:
    """Compile a Go probe into the folder, as its Dockerfile does in the image."""
    if shutil.which("go") is None:
        raise InvalidInputError(
            f"the folder {path} is a Go probe, and Go is not installed: the local cluster runs programs as they are"
        )
    done = run_program(["go", "build", "-o", "probe", "."], _COMPILE_S, folder=path, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise InvalidInputError(f"the folder {path} cannot be compiled:\n{done.stderr.strip()}")
