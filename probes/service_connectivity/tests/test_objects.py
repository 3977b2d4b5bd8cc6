from typing import Any

from kubeprobe_client import Run

from probes.service_connectivity.objects import ready_addresses, server_pod, service

RUN = Run(id="01run", installation="test", namespace="kubeprobe", pod_name="probe", pod_uid="uid")


def test_objects_belong_to_the_probes_pod_and_have_the_runs_labels() -> None:
    pod = server_pod(RUN, "service-1", "kubeprobe", "service", "busybox", 60)
    created = service(RUN, "service-headless", "kubeprobe", "service", clusterIP="None")
    for body in (pod, created):
        assert body["metadata"]["labels"]["kubeprobe.io/run"] == "01run"
        assert body["metadata"]["ownerReferences"][0]["uid"] == "uid"
    assert created["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert created["spec"]["clusterIP"] == "None"
    assert pod["spec"]["activeDeadlineSeconds"] == 60


def test_only_ready_endpoints_are_expected_and_unset_means_ready() -> None:
    def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
        return {"addresses": [address], "conditions": conditions}

    slices = [
        {
            "metadata": {"name": "one"},
            "endpoints": [endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=False)],
        },
        {"metadata": {"name": "two"}, "endpoints": [endpoint("10.0.0.3")]},
        {"metadata": {"name": "empty"}, "endpoints": None},
    ]
    assert ready_addresses(slices) == {"10.0.0.1": "one", "10.0.0.3": "two"}
