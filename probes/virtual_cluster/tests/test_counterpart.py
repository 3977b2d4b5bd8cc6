"""How virtual-cluster finds a pod's counterpart, and its error for one that is not deleted."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from kubeprobe_client import run

from probes._access import Access
from probes._api import Api
from probes.virtual_cluster.counterpart import Convention, wait_for
from probes.virtual_cluster.probe import Settings, VirtualPodLifecycle, why_not_deleted, why_unreachable
from tests.probes.scripted import scripted_api

VCLUSTER = Convention(
    "vcluster.loft.sh/managed-by", "vcluster.loft.sh/object-name", "vcluster.loft.sh/object-namespace"
)
VIRTUAL = {"metadata": {"name": "web", "namespace": "shop"}}


def pod(host_name: str, **annotations: str) -> dict[str, Any]:
    keys = {f"vcluster.loft.sh/object-{key}": value for key, value in annotations.items()}
    return {"metadata": {"name": host_name, "namespace": "host", "annotations": keys}}


def test_a_counterpart_is_recognized_by_name_and_namespace() -> None:
    assert VCLUSTER.matches(pod("web-x-shop-x-v", name="web", namespace="shop"), "web", "shop")
    assert not VCLUSTER.matches(pod("web-x-shop-x-v", name="web", namespace="other"), "web", "shop")
    assert not VCLUSTER.matches(pod("web"), "web", "shop")


def test_an_engine_may_keep_pod_names() -> None:
    assert Convention("", "", "").matches(pod("web"), "web", "shop")
    assert not Convention("", "", "").matches(pod("web2"), "web", "shop")


def events(*found: dict[str, Any]) -> tuple[int, bytes]:
    return 200, b"".join(json.dumps({"type": "ADDED", "object": one}).encode() + b"\n" for one in found)


def test_the_counterpart_is_found_among_others_and_after_a_broken_watch() -> None:
    ours = pod("web-x-shop-x-v", name="web", namespace="shop")
    with scripted_api(events(pod("other", name="a", namespace="b")), (503, {}), events(ours)) as server:
        found = wait_for(Api(Access(f"http://127.0.0.1:{server.server_port}")), "/pods", VCLUSTER, VIRTUAL, 10)
    assert found == ours
    assert "labelSelector=vcluster.loft.sh%2Fmanaged-by" in server.requests[0]


def test_the_wait_for_a_counterpart_ends() -> None:
    with scripted_api(events()) as server:
        assert wait_for(Api(Access(f"http://127.0.0.1:{server.server_port}")), "/pods", VCLUSTER, VIRTUAL, 0.1) == {}


def test_the_cause_of_an_undeleted_pod_is_reported() -> None:
    assert why_not_deleted({"metadata": {}}) == "the syncer has not requested its deletion"
    deleting = {"deletionTimestamp": "2026-11-25T12:00:00Z"}
    assert why_not_deleted({"metadata": {**deleting, "finalizers": ["a/b"]}}) == "held by the finalizers a/b"
    assert why_not_deleted({"metadata": deleting, "spec": {"nodeName": "n"}}) == "kubelet on node n has not removed it"


def test_a_kubeconfig_for_localhost_is_not_a_finding() -> None:
    settings = Settings.from_environment("team-a")
    assert why_unreachable(Access("https://localhost:8443"), settings).endswith(
        "set SERVER, such as https://virtual.team-a:443"
    )
    assert why_unreachable(Access("https://virtual.team-a:443"), settings) == ""


def test_only_pods_of_killed_runs_are_deleted() -> None:
    settings = Settings.from_environment("host")

    def leftover(name: str, ago: float) -> dict[str, Any]:
        created = datetime.now(UTC) - timedelta(seconds=ago)
        return {"metadata": {"name": name, "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ")}}

    pods = {"items": [leftover("old", settings.lifetime + 5), leftover("running", 10)]}
    with scripted_api((200, pods), (200, {})) as server, Api(Access(f"http://127.0.0.1:{server.server_port}")) as api:
        VirtualPodLifecycle(api, api, settings, run()).delete_leftovers()
    listed, deleted = server.requests
    assert "labelSelector=app.kubernetes.io%2Fname%3Dkubeprobe-virtual-cluster" in listed
    assert deleted == "DELETE /api/v1/namespaces/default/pods/old"
