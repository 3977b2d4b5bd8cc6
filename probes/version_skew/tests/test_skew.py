import pytest

from probes.version_skew import deprecated, skew
from probes.version_skew.skew import Component


def component(name: str, version: str, location: str = "node a") -> Component:
    return Component(name, version, location)


SERVER = component("kube-apiserver", "v1.34.4", "10.0.0.1:6443")


@pytest.mark.parametrize(
    ("version", "minor"),
    [
        ("v1.34.4", 34),
        ("1.9", 9),
        ("v1.33.1-gke.100", 33),
        ("v1.32.0-eks-1a2b", 32),
        ("v1.31+", 31),
        ("", None),
        ("v2.1.0", None),
        ("latest", None),
        ("v1.3x", None),
    ],
)
def test_the_minor_version_is_read_from_vendors_versions(version, minor) -> None:
    assert skew.minor_of(version) == minor


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("registry.k8s.io/kube-proxy:v1.34.4", "v1.34.4"),
        ("registry:5000/kube-proxy:v1.33.0-eksbuild.2@sha256:abc", "v1.33.0-eksbuild.2"),
        ("registry:5000/kube-proxy", ""),
        ("kube-proxy@sha256:abc", ""),
        ("kube-proxy:latest", ""),
    ],
)
def test_the_version_of_an_image_is_its_tag(image, version) -> None:
    assert skew.version_in_image(image) == version


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("kubelet", "v1.31.0"),
        ("kubelet", "v1.34.9"),
        ("kube-proxy", "v1.31.0"),
        ("kube-scheduler", "v1.33.0"),
        ("kubelet", "unknown"),
    ],
)
def test_components_within_the_skew_are_not_reported(name, version) -> None:
    assert skew.outside([SERVER, component(name, version)]) == []


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("kubelet", "v1.30.2", "is 4 minor versions older than kube-apiserver v1.34.4; at most 3 are supported"),
        ("kubelet", "v1.35.0", "is newer than kube-apiserver v1.34.4; this is not supported"),
        ("kube-proxy", "v1.24.0", "at most 2 are supported"),
        ("kube-scheduler", "v1.32.0", "at most 1 are supported"),
        ("kube-controller-manager", "v1.35.0", "is newer than kube-apiserver v1.34.4"),
    ],
)
def test_components_outside_the_skew_are_reported(name, version, expected) -> None:
    [text] = skew.outside([SERVER, component(name, version)])
    assert text.startswith(f"{name} {version} on node a is ")
    assert expected in text


def test_with_api_servers_of_two_versions_both_limit_the_skew() -> None:
    old = component("kube-apiserver", "v1.33.9", "10.0.0.2:6443")
    kubelets = [component("kubelet", "v1.34.0", "node b"), component("kubelet", "v1.30.0", "node c")]
    newer, older = skew.outside([SERVER, old, *kubelets])
    assert newer == "kubelet v1.34.0 on node b is newer than kube-apiserver v1.33.9; this is not supported"
    assert older.startswith("kubelet v1.30.0 on node c is 4 minor versions older than kube-apiserver v1.34.4")


def test_api_servers_two_minor_versions_apart_are_reported_with_both_addresses() -> None:
    [text] = skew.outside([SERVER, component("kube-apiserver", "v1.32.0", "10.0.0.2:6443")])
    assert text == (
        "kube-apiserver v1.34.4 at 10.0.0.1:6443 is 2 minor versions newer than kube-apiserver v1.32.0 at "
        "10.0.0.2:6443; at most 1 is supported"
    )


def test_nodes_with_the_same_version_share_a_line() -> None:
    nodes = [component("kubelet", "v1.29.0", f"node {number}") for number in range(5)]
    [text] = skew.outside([SERVER, *nodes])
    assert "on node 0, node 1, node 2 and 2 more is 5 minor versions older" in text


def test_kube_proxy_is_compared_with_the_kubelet_of_its_node() -> None:
    kubelets = {"node a": component("kubelet", "v1.34.0"), "node b": component("kubelet", "v1.31.0", "node b")}
    proxies = [component("kube-proxy", "v1.30.0"), component("kube-proxy", "v1.30.0", "node b")]
    assert skew.apart_on_node(kubelets, proxies) == [
        "kube-proxy v1.30.0 and kubelet v1.34.0 on node a are 4 minor versions apart; at most 3 are supported"
    ]


METRICS = """
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="b.io",removed_release="1.9",resource="xs",subresource="z",version="v1"} 1
apiserver_requested_deprecated_apis{group="a.io",removed_release="1.40",resource="ys",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="c.io",removed_release="1.40",resource="zs",subresource="",version="v1"} 0
apiserver_request_total{group="",resource="pods"} 7
"""


def test_deprecated_apis_are_read_from_the_metrics_sorted_by_removal() -> None:
    found = set(deprecated.requested(METRICS))
    assert [one.split()[1] for one in deprecated.describe(found, [])] == ["b.io/v1/xs/z", "a.io/v1/ys", "v1/endpoints"]
    assert deprecated.describe(found, [])[1].endswith("Kubernetes 1.40 removes it")


def test_deprecated_apis_that_are_ignored_are_not_a_finding() -> None:
    found = set(deprecated.requested(METRICS))
    assert deprecated.describe(found, ["v1/endpoints", "*.io/*"]) == []
