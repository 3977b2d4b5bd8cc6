from typing import Any

import pytest

from probes.image_pull.pull_state import classify, failure, has_pulled, pull_duration

IMAGE = "registry-404.example.com:5000/denied/x509:429"


def pod(**state: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"state": state}]}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod(waiting={"reason": reason, "message": message})


def resolving(message: str) -> str:
    """A message of containerd."""
    return f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {message}'


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (resolving(f"{IMAGE}: not found"), "missing"),
        (
            resolving("unexpected status from HEAD request to https://a/v2/b/manifests/1: 429 Too Many Requests"),
            "throttled",
        ),
        (
            resolving("unexpected status from HEAD request to https://a/v2/b/manifests/429: 503 Service Unavailable"),
            "registry",
        ),
        (
            resolving('failed to do request: Head "https://a/v2/": dial tcp 10.0.0.1:443: connect: connection refused'),
            "unreachable",
        ),
        (resolving('failed to do request: Head "https://a/v2/": dial tcp: lookup a: no such host'), "unreachable"),
        (resolving('failed to do request: Head "https://a/v2/": dial tcp 10.0.0.1:443: i/o timeout'), "unreachable"),
        (
            resolving('failed to do request: Head "https://a/v2/": tls: failed to verify certificate: x509: unknown'),
            "untrusted",
        ),
        (resolving("pulling from host a failed with status code [manifests 1]: 401 Unauthorized"), "auth"),
        (resolving("failed to authorize: failed to fetch oauth token: 403 Forbidden"), "auth"),
        (
            "pull access denied, repository does not exist or may require authorization: server message: denied",
            "denied",
        ),
        ("reading manifest 9 in quay.io/a/b: manifest unknown", "missing"),
        ("toomanyrequests: You have reached your pull rate limit", "throttled"),
        ("pull QPS exceeded", "throttled"),
        ("no match for platform in manifest: not found", "platform"),
        ("write /var/lib/x: no space left on device", "disk"),
        ("an unknown error", "other"),
    ],
)
def test_a_failed_pull_is_classified(message: str, fault: str) -> None:
    message = message.replace(f"{IMAGE}: not", "image: not")
    assert classify(message).fault.name == fault


def test_back_off_keeps_the_cause() -> None:
    found = failure(waiting("ImagePullBackOff", 'Back-off pulling image "a:1": ErrImagePull: a:1: not found'))
    assert found is not None
    assert (found.fault.name, found.message) == ("missing", "a:1: not found")


def test_a_long_message_keeps_its_end() -> None:
    found = classify("x " * 500 + "connection refused")
    assert found.message.startswith("...")
    assert found.message.endswith("connection refused")
    assert len(found.message) == 403


@pytest.mark.parametrize(
    ("pod_state", "expected"),
    [
        ({}, "nothing"),
        (waiting("ContainerCreating"), "nothing"),
        (waiting("ErrImagePull", "not found"), "failed"),
        (waiting("ImagePullBackOff"), "failed"),
        (waiting("InvalidImageName", "no"), "failed"),
        (waiting("CreateContainerError", "no command specified"), "pulled"),
        (pod(running={}), "pulled"),
        (pod(terminated={"reason": "StartError"}), "pulled"),
    ],
)
def test_states_after_the_pull_mean_success(pod_state: dict[str, Any], expected: str) -> None:
    assert has_pulled(pod_state) is (expected == "pulled")
    assert (failure(pod_state) is not None) is (expected == "failed")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ('Successfully pulled image "a" in 1m2.5s (2m including waiting). Image size: 742 bytes.', (62.5, 742.0)),
        ('Successfully pulled image "a" in 812ms (812ms including waiting)', (0.812, 0.0)),
        ('Container image "a" already present on machine', None),
    ],
)
def test_the_duration_is_read_from_the_kubelets_event(message: str, found: tuple[float, float] | None) -> None:
    assert pull_duration([{"reason": "Pulling"}, {"reason": "Pulled", "message": message}]) == found
