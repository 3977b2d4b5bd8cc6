"""The faults of the real tier: the most important ones of each probe, and all of a probe that has changed.

All 186 take hours on two cores; `make detection` runs them and records the results in the repository. If the current
code of a probe has no recorded run with one of its faults, the real tier runs that fault too.
"""

from benchmarks.detection.seen import RecordedRuns
from tests.probes.scenario import SCENARIOS, Fault, Scenario

SELECTED_FAULTS: dict[str, tuple[str, ...]] = {
    "admission": (
        "the webhook's Service has no endpoint",
        "the webhook admits everything",
        "a policy denies what must be accepted",
    ),
    "api_crud": ("the API server is down", "etcd is slow", "a finalizer holds the deleted ConfigMap"),
    "canary_deployment": (
        "the controller manager is down",
        "an EndpointSlice lists an address that belongs to no pod",
        "kube-proxy freezes before the update",
    ),
    "capacity": (
        "no node matches a pod's node selector",
        "a node's pod addresses are exhausted",
        "a quota is full",
    ),
    "certificate_expiry": (
        "a certificate in a Secret has expired",
        "a kubelet's certificate expires soon",
        "a webhook's CA has expired",
    ),
    "cluster_dns": (
        "no DNS pod runs",
        "one of two DNS pods is frozen",
        "the DNS Service has a wrong endpoint",
    ),
    "etcd_backup": (
        "a byte of the etcd backup is changed",
        "an etcd has no backup",
        "an etcd has no standby",
    ),
    "etcd_crud": (
        "a member of etcd is cut off from the others",
        "etcd has lost its quorum",
        "etcd's data is corrupt",
    ),
    "federation_link": (
        "the link to one member is cut",
        "one member's agent is killed",
        "a deletion is not propagated",
    ),
    "http_endpoint": (
        "the server answers 503",
        "the server does not send the intermediate certificate",
        "the server does not respond",
    ),
    "image_pull": ("the registry is unreachable", "the password is wrong", "the registry throttles"),
    "job_lifecycle": (
        "the controller manager is down",
        "a finalizer holds the finished Job",
        "the controllers stop when the Job is complete",
    ),
    "kube_proxy_rules": (
        "the rules of a Service are missing",
        "an endpoint's chain has a wrong address",
        "an endpoint was removed while kube-proxy was down",
    ),
    "namespace_lifecycle": (
        "the controller manager is down",
        "an aggregated API has no backend",
        "a finalizer holds an object in the namespace",
    ),
    "node_health": ("a disk is full", "the kubelet hangs", "the container runtime is down"),
    "node_netns_leak": ("a network namespace was left", "a CNI result was left"),
    "pod_lifecycle": ("the image cannot be pulled", "the quota is full", "the kubelet is down"),
    "rate_limit": (
        "requests are rejected",
        "a namespace has no quota",
        "an ingress's limits contradict each other",
    ),
    "rules": ("a Deployment has no readiness probe", "an Ingress has no TLS"),
    "service_connectivity": (
        "kube-proxy hangs when a pod is deleted",
        "a packet filter closes the node ports",
        "an EndpointSlice lists a wrong address",
    ),
    "version_skew": (
        "a kubelet is four minor versions old",
        "a controller manager is newer than the API server",
        "a client requests a deprecated API",
    ),
    "virtual_cluster": (
        "the syncer is stopped",
        "the virtual API server is down",
        "the kubeconfig is another cluster's",
    ),
    "volume_lifecycle": (
        "the storage provisioner is down",
        "the storage quota is full",
        "written data is lost",
    ),
    "workload_safety": (
        "a validating webhook has no endpoint",
        "a budget blocks every eviction",
        "a StatefulSet has one replica",
    ),
}
"""By folder: the faults that are most frequent, and those that need the most code to detect."""


def selected_faults() -> list[tuple[Scenario, Fault]]:
    """The faults of the real tier."""
    recorded = RecordedRuns()
    return [
        (scenario, fault)
        for scenario in SCENARIOS
        for fault in scenario.faults
        if fault.name in SELECTED_FAULTS.get(scenario.folder, ()) or is_unrecorded(recorded, scenario, fault)
    ]


def is_unrecorded(recorded: RecordedRuns, scenario: Scenario, fault: Fault) -> bool:
    """Whether the current code of this probe has no recorded run with the current version of its fault."""
    return recorded.lacks(f"{scenario.folder}/{fault.name}", scenario.folder)


def explanation() -> list[str]:
    """Which faults were selected, and why, as lines for the output of the tests."""
    recorded, selected = RecordedRuns(), selected_faults()
    total = sum(len(scenario.faults) for scenario in SCENARIOS)
    unrecorded = [
        scenario for scenario in SCENARIOS if any(is_unrecorded(recorded, scenario, fault) for fault in scenario.faults)
    ]
    lines = [f"faults: {len(selected)} of {total}, the most important of each probe (tests/probes/selected_faults.py)"]
    lines += [
        f"  {scenario.folder}: without a recorded run of the current code: "
        f"{sum(is_unrecorded(recorded, scenario, fault) for fault in scenario.faults)} of {len(scenario.faults)}"
        for scenario in unrecorded
    ]
    return lines
