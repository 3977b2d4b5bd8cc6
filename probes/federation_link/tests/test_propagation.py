"""What federation-link creates on a hub, and how it reports members."""

import re
from pathlib import Path

import pytest
import yaml

from probes._access import Access
from probes._api import Api, ApiError
from probes.federation_link import probe, propagation
from probes.federation_link.hub_objects import ManifestError, hub_object_of, labelled, manifests
from tests.probes.scripted import scripted_api

VALUES = {"name": "link-1", "namespace": "shop"}
README = (Path(__file__).parents[1] / "README.md").read_text()
[KARMADA] = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NOT_FOUND = (404, {"kind": "Status", "reason": "NotFound", "message": "not found"})
EXISTING = (200, {"metadata": {"name": "link-1", "finalizers": ["example.com/backup"]}})


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
        ("", "expected at least one YAML document, got none"),
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
        assert hub_object_of(api, work).path == "/apis/a.io/v1/namespaces/east/works/w"
        assert hub_object_of(api, {**work, "kind": "Region"}).path == "/apis/a.io/v1/regions/w"
        with pytest.raises(ApiError, match=r"the hub's API has no kind Worker in a\.io/v1"):
            hub_object_of(api, {**work, "kind": "Worker"})


def test_created_objects_have_the_runs_labels_and_their_own() -> None:
    body = {"metadata": {"name": "a", "labels": {"own": "1"}}}
    assert labelled(body, {"run": "2"})["metadata"]["labels"] == {"own": "1", "run": "2"}
    assert body["metadata"]["labels"] == {"own": "1"}


def observe(*answers: object, expected: bool, seconds: float) -> propagation.Observation:
    wait = propagation.wait_until_created if expected else propagation.wait_until_deleted
    with scripted_api(*answers) as server:
        [observation] = wait(
            {"east": Access(f"http://127.0.0.1:{server.server_port}")}, "/x", propagation.time.monotonic(), seconds
        )
    return observation


def test_the_creation_time_is_measured() -> None:
    observation = observe(NOT_FOUND, NOT_FOUND, EXISTING, expected=True, seconds=60)
    assert observation.seconds is not None
    assert observation.seconds >= 2 * propagation.PERIOD


def test_an_object_that_is_not_created_in_a_member_is_reported() -> None:
    observation = observe(NOT_FOUND, expected=True, seconds=0)
    assert probe.record_observations([observation], "arrived", 5) == [
        "member east: the object does not exist 5 s after its creation on the hub"
    ]


def test_an_object_that_is_not_deleted_is_reported_with_its_finalizers() -> None:
    observation = observe(EXISTING, expected=False, seconds=0)
    [wrong] = probe.record_observations([observation], "gone", 5)
    assert wrong.startswith("member east: the object still exists 5 s after its deletion on the hub: held ")
    assert wrong.endswith("by the finalizers example.com/backup")


def test_a_member_that_is_unavailable_is_reported_and_not_counted_as_deleted() -> None:
    observation = observe(
        (503, {"reason": "ServiceUnavailable", "message": "etcd is unavailable"}), expected=False, seconds=0
    )
    assert observation.seconds is None
    assert probe.record_observations([observation], "gone", 5) == [
        "member east: 503 ServiceUnavailable: etcd is unavailable (GET /x)"
    ]
