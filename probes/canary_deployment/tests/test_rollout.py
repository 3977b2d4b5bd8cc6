from typing import Any

import pytest

from probes.canary_deployment import rollout


def deployment(generation: int = 1, *conditions: dict[str, Any], **status: int) -> dict[str, Any]:
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


def pod(name: str, address: str, *, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"name": name, **({"deletionTimestamp": "now"} if terminating else {})},
        "status": {"podIPs": [{"ip": address}], "conditions": [condition]},
    }


def endpoint_slice(name: str, *addresses: str, ready: bool | None = None) -> dict[str, Any]:
    conditions = {} if ready is None else {"ready": ready}
    return {
        "metadata": {"name": name},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": conditions} for address in addresses],
    }


@pytest.mark.parametrize(
    ("generation", "status", "rolled_out"),
    [
        (1, {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, True),
        (1, {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}, False),
        (1, {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}, False),
        (1, {"replicas": 2, "updatedReplicas": 2}, False),
        (2, {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, False),
        (1, {}, False),
    ],
)
def test_a_deployment_is_rolled_out_when_only_new_available_pods_exist(generation, status, rolled_out) -> None:
    assert rollout.is_rolled_out(deployment(generation, **status)) is rolled_out


def test_the_cause_of_a_stuck_rollout_is_reported_controllers_first() -> None:
    def why(found: dict[str, Any], *pods: dict[str, Any]) -> str:
        return rollout.why_not_rolled_out(found, list(pods), lambda _pod: "ErrImagePull")

    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}
    assert "Deployment controller has not processed it" in why(deployment(2))
    assert why(deployment(1, refused)) == "FailedCreate: exceeded quota: q"
    assert why(deployment(), pod("a", "1", ready=False)) == "pod a: ErrImagePull"
    assert why(deployment(replicas=1), pod("a", "1")) == "1 pods, 0 updated, 0 available; 2 desired"


def test_endpoints_equal_to_the_ready_pods_are_right() -> None:
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), pod("old", "10.0.0.3", terminating=True)]
    slices = [endpoint_slice("s", "10.0.0.1", "10.0.0.2"), endpoint_slice("t", "10.0.0.3", ready=False)]
    assert rollout.wrong_endpoints(slices, pods) == []


def test_wrong_endpoints_and_missing_pods_are_named() -> None:
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]
    unexpected, missing = rollout.wrong_endpoints([endpoint_slice("s", "10.0.0.1", "10.9.9.9")], pods)
    assert unexpected == "endpointslice s lists 10.9.9.9, which is not the address of a ready pod of the Service"
    assert missing.startswith("pod b (10.0.0.2) is ready, but not an endpoint")


def test_a_single_family_service_needs_one_address_per_pod() -> None:
    both = pod("a", "10.0.0.1")
    both["status"]["podIPs"].append({"ip": "fd00::1"})
    assert rollout.wrong_endpoints([endpoint_slice("s", "10.0.0.1")], [both]) == []
