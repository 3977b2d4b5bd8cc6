"""A probe of one's own on a real Kubernetes: built with buildah, pushed, registered with its digest, tried."""

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kubeprobe import logs
from kubeprobe.cli import app
from tests.harness.registry import Registry, digest_of, registry
from tests.harness.wait import until

BASE = "localhost/kubeprobe-test/shell:1"
BASE_DOCKERFILE = """
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
"""
Types = Callable[..., str]


@pytest.fixture
def pushed_to() -> Iterator[Registry]:
    with registry() as server:
        yield server


@pytest.fixture
def user(tmp_path: Path, pushed_to: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with their own installation, and a buildah with its own storage that trusts this registry."""
    registries, storage = tmp_path / "registries.conf", tmp_path / "storage.conf"
    registries.write_text(f'[[registry]]\nlocation = "{pushed_to.host}"\ninsecure = true\n')
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/images"\nrunroot = "{tmp_path}/run"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBEPROBE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(registries))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")
    monkeypatch.setattr(logs, "configure_logs", lambda *_, **__: None)  # it would outlast the test


@pytest.fixture
def types(user: None) -> Types:
    """Run `kubeprobe ...`; returns its output."""

    def run(*command: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(command))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, f"{' '.join(command)}: {done.exit_code}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def base(tmp_path: Path, user: None) -> str:
    """An image with a shell, built here, as no other registry can be reached."""
    context = tmp_path / "base"
    context.mkdir()
    shutil.copy2("/bin/busybox", context)
    (context / "Dockerfile").write_text(BASE_DOCKERFILE)
    subprocess.run(["buildah", "build", "--tag", BASE, str(context)], check=True, capture_output=True)
    return BASE


@pytest.fixture
def namespace(kubeconfig: Path) -> Iterator[str]:
    """The namespace of one test's probes, which does not exist before the setup."""
    name = f"kubeprobe-own-{secrets.token_hex(3)}"
    yield name
    kubectl(kubeconfig, "delete", "namespace", name, "--ignore-not-found", "--wait=false")


def kubectl(kubeconfig: Path, *arguments: str) -> str:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def set_up(types: Types, kubeconfig: Path, namespace: str) -> None:
    """The tutorial's commands for the user's own cluster, up to the trial; waits for what pods need."""
    types("migrate")
    types("cluster", "add", "bed", "--kubeconfig", str(kubeconfig), "--namespace", namespace)
    assert "+ ProbeTemplate/disk" in types("probe", "register", "disk")
    types("cluster", "setup", "bed", "--cases", "disk", "--apply")
    accounts = ("-n", namespace, "get", "serviceaccounts", "-o", "name")
    until("the namespace's own account", lambda: "serviceaccount/default" in kubectl(kubeconfig, *accounts))


def test_a_probe_is_built_pushed_registered_with_its_digest_and_tried(
    types: Types, tmp_path: Path, base: str, pushed_to: Registry, kubeconfig: Path, namespace: str
) -> None:
    types("probe", "new", "disk", "--language", "shell")
    tag = f"{pushed_to.host}/disk:1"
    pinned = types("probe", "build", "disk", "--tag", tag, "--build-arg", f"BASE={base}", "--push").strip()
    _, manifest = pushed_to.manifests["disk", "1"]
    assert pinned == f"{pushed_to.host}/disk@{digest_of(manifest)}"

    set_up(types, kubeconfig, namespace)
    tried = types("probe", "try", "disk", "--cluster", "bed")
    assert tried.splitlines()[1].split()[:3] == ["pass", "disk", "bed"]
    assert "ok  write" in tried
    failed = types("probe", "try", "disk", "--cluster", "bed", "-p", "DIRECTORY=/probe", code=1)
    assert "Read-only file system" in failed

    other = f"{pushed_to.host}/disk@{digest_of(b'another')}"
    assert f"{pinned[:40]}" in types("probe", "register", "disk", "--image", other, "--dry-run")


def test_a_missing_image_is_unknown_with_the_reason(
    types: Types, kubeconfig: Path, pushed_to: Registry, namespace: str
) -> None:
    types("probe", "new", "disk", "--language", "shell")
    set_up(types, kubeconfig, namespace)
    image = f"{pushed_to.host}/nothing:1"
    output = types(*("probe", "try", "disk", "--cluster", "bed", "--image", image, "--output", "json"), code=3)
    [run] = json.loads(output)
    assert (run["verdict"], run["reason"]) == ("unknown", "ImageNotPulled")
    assert image in run["message"]
