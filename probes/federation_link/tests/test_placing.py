"""What federation-link creates on a hub, and how it reports members."""

import re
from pathlib import Path

import pytest
import yaml

from probes._access import Access
from probes._api import Api, ApiError
from probes.federation_link import arriving, probe
from probes.federation_link.placing import ManifestError, labelled, manifests, placement_of
from tests.probes.scripted import scripted_api

VALUES = {"name": "link-1", "namespace": "shop"}
README = (Path(__file__).parents[1] / "README.md").read_text()
[KARMADA] = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NOT_FOUND = (404, {"kind": "Status", "reason": "NotFound", "message": "not found"})
THERE = (200, {"metadata": {"name": "link-1", "finalizers": ["example.com/backup"]}})


def test_karmadas_object_and_policy_are_created_in_order() -> None:
    config, policy = manifests(KARMADA, VALUES, ["east", "west"])
    assert config["metadata"] == {"name": "link-1", "namespace": "shop"}
    assert policy["spec"]["resourceSelectors"] == [{"apiVersion": "v1", "kind": "ConfigMap", "name": "link-1"}]


def test_a_document_with_the_members_name_is_created_for_each_member() -> None:
    works = manifests(probe.MANIFESTS, VALUES, ["east", "west"])
    assert [work["metadata"]["namespace"] for work in works] == ["east", "west"]
    assert works[0]["spec"]["workload"]["manifests"][0]["metadata"] == VALUES


def test_the_default_manifests_match_the_catalog() -> None:
    _template, case = yaml.safe_load_all((Path(__file__).parents[1] / "catalog.yaml").read_text())
    assert case["spec"]["parameters"]["MANIFESTS"].strip() == probe.MANIFESTS.strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is none"),
        ("a: ${nothing}", r"placeholder 'nothing': expected \$\{name\}, \$\{namespace\} or \$\{member\}"),
        ("a: [", "while parsing"),
        ("kind: ConfigMap", "expected apiVersion, kind and metadata.name in 'kind: ConfigMap'"),
        ("just text", "expected apiVersion"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}", r"expected it to contain \$\{name\}"),
    ],
)
def test_an_invalid_manifest_is_refused(text: str, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        manifests(text, VALUES, ["east"])


def test_the_hubs_discovery_gives_the_path_of_a_kind() -> None:
    served = {"resources": [{"name": "works/status", "kind": "Work", "namespaced": True}]}
    served["resources"] += [{"name": "works", "kind": "Work", "namespaced": True}]
    served["resources"] += [{"name": "regions", "kind": "Region", "namespaced": False}]
    answers = [(200, served)] * 3
    with scripted_api(*answers) as server, Api(Access(f"http://127.0.0.1:{server.server_port}")) as api:
        work = {"apiVersion": "a.io/v1", "kind": "Work", "metadata": {"name": "w", "namespace": "east"}}
        assert placement_of(api, work).path == "/apis/a.io/v1/namespaces/east/works/w"
        assert placement_of(api, {**work, "kind": "Region"}).path == "/apis/a.io/v1/regions/w"
        with pytest.raises(ApiError, match=r"the hub has no kind Worker in a\.io/v1"):
            placement_of(api, {**work, "kind": "Worker"})


def test_placed_objects_have_the_runs_labels_and_their_own() -> None:
    body = {"metadata": {"name": "a", "labels": {"own": "1"}}}
    assert labelled(body, {"run": "2"})["metadata"]["labels"] == {"own": "1", "run": "2"}
    assert body["metadata"]["labels"] == {"own": "1"}


def seen_by(*answers: object, wanted: bool, seconds: float) -> arriving.Observation:
    observe = arriving.arrived if wanted else arriving.gone
    with scripted_api(*answers) as server:
        [seen] = observe(
            {"east": Access(f"http://127.0.0.1:{server.server_port}")}, "/x", arriving.time.monotonic(), seconds
        )
    return seen


def test_an_object_arrives_when_it_first_exists() -> None:
    seen = seen_by(NOT_FOUND, NOT_FOUND, THERE, wanted=True, seconds=5)
    assert seen.seconds is not None
    assert seen.seconds >= 2 * arriving.PERIOD


def test_an_object_that_does_not_arrive_is_reported() -> None:
    seen = seen_by(NOT_FOUND, wanted=True, seconds=0)
    assert probe.record_observations([seen], "arrived", 5) == [
        "member east: the object has not arrived 5 s after it was placed on the hub"
    ]


def test_an_object_that_is_not_deleted_is_reported_with_its_finalizers() -> None:
    seen = seen_by(THERE, wanted=False, seconds=0)
    [wrong] = probe.record_observations([seen], "gone", 5)
    assert wrong.startswith("member east: the object is still there 5 s after it was deleted from the hub: held there")
    assert wrong.endswith("by the finalizers example.com/backup")


def test_a_member_that_is_unavailable_is_reported_and_not_taken_for_deleted() -> None:
    seen = seen_by((503, {"reason": "ServiceUnavailable", "message": "etcd is away"}), wanted=False, seconds=0)
    assert seen.seconds is None
    assert probe.record_observations([seen], "gone", 5) == [
        "member east: 503 ServiceUnavailable: etcd is away (GET /x)"
    ]
