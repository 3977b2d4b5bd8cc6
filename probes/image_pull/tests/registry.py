"""A real container registry on the node, with an image, and a failing server in its place."""

import base64
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from socket import create_connection
from typing import Any

from testbed import Instance, Testbed, binaries, configuration
from testbed.instance import NODE_ADDRESS
from tests.harness.wait import until

NAME = "tests/small"
PORT = 5000
"""The port of the registry, which nothing else on the node uses."""
USER, PASSWORD = "probe", "secret-of-the-tests"
_HTPASSWD = f"{USER}:$2b$04$UN7V6NbbRoDbg2KszmqRKOFPlxoj/VZmuRM4pGvki4J/txGOnVoje\n"
Json = dict[str, Any]


@contextmanager
def registry(testbed: Testbed, tmp: Path) -> Iterator[None]:
    """A registry at PORT with one user and the image `tests/small:1`."""
    (tmp / "htpasswd").write_text(_HTPASSWD)
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(tmp / "registry")}},
        "http": {"addr": f"{NODE_ADDRESS}:{PORT}"},
        "auth": {"htpasswd": {"realm": "tests", "path": str(tmp / "htpasswd")}},
    }
    (tmp / "registry.json").write_text(json.dumps(config))
    command = testbed.inside([str(binaries.REGISTRY.folder() / "registry"), "serve", str(tmp / "registry.json")])
    with (
        (tmp / "registry.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            until("the registry to serve", lambda: _serves(PORT), instead=(tmp / "registry.log").read_text)
            push(PORT)
            yield
        finally:
            process.terminate()


@contextmanager
def plain_http(instance: Instance, port: int) -> Iterator[None]:
    """While containerd uses plain http for this port of the node."""
    folder = configuration.registries(instance) / f"{NODE_ADDRESS}:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://{NODE_ADDRESS}:{port}"
    (folder / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n')
    try:
        yield
    finally:
        (folder / "hosts.toml").unlink()
        folder.rmdir()


def pull_secret(name: str, port: int, password: str = PASSWORD) -> Json:
    """A pull secret for the kubelet."""
    entry = {"username": USER, "password": password, "auth": _basic(password)}
    config = json.dumps({"auths": {f"{NODE_ADDRESS}:{port}": entry}})
    data = {".dockerconfigjson": base64.b64encode(config.encode()).decode()}
    return {"metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "data": data}


def push(port: int) -> None:
    """Push `tests/small:1` by the registry's API (OCI distribution specification)."""
    layer = _layer()
    digest_of_layer = _digest(gzip.decompress(layer))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of_layer]}}
    blobs = {
        "application/vnd.oci.image.config.v1+json": json.dumps(config).encode(),
        "application/vnd.oci.image.layer.v1.tar+gzip": layer,
    }
    descriptors = [{"mediaType": kind, "digest": _digest(blob), "size": len(blob)} for kind, blob in blobs.items()]
    for blob in blobs.values():
        status, headers = _request(port, "POST", f"/v2/{NAME}/blobs/uploads/")
        assert status == 202, status
        location = headers["location"].partition(f":{port}")[2] or headers["location"]
        status, _ = _request(port, "PUT", f"{location}&digest={_digest(blob)}", blob)
        assert status == 201, status
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": descriptors[0], "layers": descriptors[1:]}
    status, _ = _request(port, "PUT", f"/v2/{NAME}/manifests/1", json.dumps(manifest).encode(), kind)
    assert status == 201, status


def _layer() -> bytes:
    content = b"small\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _request(
    port: int, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
) -> tuple[int, dict[str, str]]:
    connection = HTTPConnection(NODE_ADDRESS, port, timeout=10)
    try:
        connection.request(method, path, body, {"Authorization": f"Basic {_basic(PASSWORD)}", "Content-Type": kind})
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def _basic(password: str) -> str:
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _serves(port: int) -> bool:
    with suppress(OSError), create_connection((NODE_ADDRESS, port), 1):
        return True
    return False
