"""`kubeprobe probe try --cluster`: what a trial needs there, and what it removes afterwards."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kubeprobe.app import Installation
from kubeprobe.authoring import trial
from kubeprobe.authoring.trial import TRIAL
from kubeprobe.clock import utc_now
from kubeprobe.localcluster.images import add_to_listing
from kubeprobe.settings import Settings
from kubeprobe.vocabulary import LABEL_CASE, LABEL_INSTALLATION, LABEL_RUN
from probes._access import find_access
from probes._api import Api
from tests.harness.wait import until
from tests.services.cli.conftest import CommandLine

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorial.md"
ELSEWHERE = "/api/v1/namespaces/kube-public/configmaps"
LEAVES = """
import os
from kubeprobe_client import main, run
from probes._api import connect
from probes._objects import metadata
@main
def probe():
    with connect() as api:
        api.create(f"/api/v1/namespaces/{os.environ['WHERE']}/configmaps", {"metadata": metadata(run(), "left")})
"""
CATALOG = """\
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {{name: shop}}
spec:
  image: docker.io/kubeprobe/probes:dev
  command: {command}
  serviceAccountName: shop
  rbac:
    - {{namespace: $(WHERE), resources: [configmaps], verbs: [create]}}
---
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {{name: shop}}
spec: {{template: shop, kind: blackbox, parameters: {{WHERE: default}}, timeouts: {{start: 10m, run: 10m}}}}
"""
PASSES = ["sh", "-c", """echo '{"ok": true}' > $KUBEPROBE_REPORT_FILE"""]


@pytest.fixture
def api(kubeconfig: Path) -> Iterator[Api]:
    with Api(find_access({"KUBECONFIG": str(kubeconfig)})) as api:
        yield api


@pytest.fixture
def namespace(kubeprobe: CommandLine) -> str:
    return f"probing-{kubeprobe.folder.name[-12:].strip('-_').replace('_', '-').lower()}"


@pytest.fixture
def shop(kubeprobe: CommandLine, kubeconfig: Path, namespace: str) -> Callable[..., str]:
    """Write a probe that runs this command, beside a cluster prod-1 that is not set up; returns the probe's folder."""
    kubeprobe("cluster", "add", "prod-1", "--kubeconfig", str(kubeconfig), "--namespace", namespace)

    def write(*command: str) -> str:
        return str(Path(kubeprobe.write("shop/catalog.yaml", CATALOG.format(command=json.dumps(command)))).parent)

    return write


def test_a_missing_namespace_or_account_is_reported_with_commands_that_create_it(
    kubeprobe: CommandLine, shop: Callable[..., str], api: Api, namespace: str
) -> None:
    def lacks(command: str) -> str:
        [line] = [line for line in kubeprobe(*command.split(), code=3).stderr.splitlines() if "does not exist" in line]
        return line

    folder = shop(*PASSES)
    setup = "`kubeprobe cluster setup prod-1 --cases shop --apply`"
    trying = f"probe try {folder} --cluster prod-1"
    no_namespace = f"namespace {namespace} does not exist in prod-1: "
    assert lacks(trying) == f"{no_namespace}`kubeprobe probe register {folder}`, then {setup}"
    kubeprobe("probe", "register", folder)
    assert lacks(trying) == f"{no_namespace}{setup}"
    api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    assert lacks(trying) == f"ServiceAccount {namespace}/shop does not exist in prod-1: {setup}"
    kubeprobe(*setup.strip("`").split()[1:])
    assert "does not exist" not in kubeprobe(*trying.split()).stderr


def test_the_tutorials_commands_for_own_clusters_work_in_their_order(
    kubeprobe: CommandLine, kubeconfig: Path, images: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kubeprobe.folder)
    kubeprobe("probe", "new", "shop-front")
    section = TUTORIAL.read_text().partition("## On your own clusters")[2]
    build, *commands = [line.split()[1:] for line in section.splitlines() if line.startswith("kubeprobe ")]
    assert build[:3] == ["probe", "build", "shop-front"]
    kubeprobe.write("shop-front/.image", pushed := f"registry.example/shop-front@sha256:{'0' * 64}")
    add_to_listing(images, pushed, Path("shop-front"))  # as if it had been pushed to a registry
    for words in commands:
        here = [str(kubeconfig) if word == "~/.kube/config" else word for word in words]
        done = kubeprobe(*here, *(["--namespace", namespace] if words[:2] == ["cluster", "add"] else []))
    assert done.stdout.splitlines()[1].split()[:3] == ["pass", "shop-front", "prod-1"]


def set_up(kubeprobe: CommandLine, folder: str) -> None:
    kubeprobe("probe", "register", folder)
    kubeprobe("cluster", "setup", "prod-1", "--cases", "shop", "--apply")


def test_objects_that_a_trial_leaves_in_other_namespaces_are_removed_and_reported(
    kubeprobe: CommandLine, shop: Callable[..., str], api: Api
) -> None:
    set_up(kubeprobe, folder := shop("python3", "-c", LEAVES))
    labels = {LABEL_INSTALLATION: TRIAL, LABEL_RUN: "01-of-a-colleague"}
    api.create(ELSEWHERE, {"metadata": {"name": "of-another-trial", "labels": labels}})
    tried = kubeprobe("probe", "try", folder, "--cluster", "prod-1", "-p", "WHERE=kube-public")
    assert "shop on prod-1: left behind by the probe, now deleted: configmaps kube-public/left" in tried.stderr
    left = [
        body["metadata"]["name"] for body in api.get(ELSEWHERE, labelSelector=f"{LABEL_INSTALLATION}={TRIAL}")["items"]
    ]
    assert left == ["of-another-trial"]
    api.delete(f"{ELSEWHERE}/of-another-trial")


def test_a_trial_that_leaves_nothing_reports_nothing(kubeprobe: CommandLine, shop: Callable[..., str]) -> None:
    set_up(kubeprobe, folder := shop(*PASSES))
    assert "left behind" not in kubeprobe("probe", "try", folder, "--cluster", "prod-1").stderr


def test_pods_of_killed_trials_are_deleted_and_pods_that_probes_created_are_not(
    kubeprobe: CommandLine, shop: Callable[..., str], api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(kubeprobe, folder := shop(*PASSES))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api.create(pods, pod("a-colleague-s-canary"))
    api.create(pods, pod("of-a-killed-trial", {LABEL_CASE: "shop"}, activeDeadlineSeconds=60))
    api.create(pods, pod("of-a-long-trial", {LABEL_CASE: "shop"}, activeDeadlineSeconds=3600))
    monkeypatch.setattr(trial, "_GRACE_S", -61)  # a pod is over a second before it was created, with 60 s to run
    open_now = Installation.open

    def open_behind(settings: Settings, **options: Any) -> Installation:
        return replace(open_now(settings, **options), clock=lambda: utc_now() - timedelta(hours=2))

    monkeypatch.setattr(Installation, "open", open_behind)  # ages are by the cluster's clock, not by the caller's
    kubeprobe("probe", "try", folder, "--cluster", "prod-1")

    def left() -> bool:
        return {body["metadata"]["name"] for body in api.get(pods)["items"]} == {
            "a-colleague-s-canary",
            "of-a-long-trial",
        }

    until("the others to be left", left)


def pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of another trial."""
    container = {"name": "probe", "image": "docker.io/kubeprobe/pause:dev"}
    run = {LABEL_INSTALLATION: TRIAL, LABEL_RUN: "01-of-another-trial"}
    metadata = {"name": name, "labels": run | (labels or {})}
    return {"metadata": metadata, "spec": {"containers": [container], "serviceAccountName": "shop", **spec}}
