"""The faults that canary-deployment must detect: controllers, scheduler, kubelet and kube-proxy; quota; endpoints."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from probes._api import Api, ApiError
from tests.probes.admission import quota
from tests.probes.component_faults import nothing_broken, without_component
from tests.probes.during_run import on_each
from tests.probes.paths import NAMESPACE, Json
from tests.probes.scenario import Bed, Fault

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
NAMES = "app.kubernetes.io/name=kubeprobe-canary-deployment"
NO_POD = "10.244.3.250"


@contextmanager
def kube_proxy_freezes_before_the_update(bed: Bed) -> Iterator[None]:
    def freeze(_api: Api, _deployment: Json) -> None:
        bed.testbed.pause("kube-proxy")

    is_updated = on_each(
        bed.api,
        DEPLOYMENTS,
        freeze,
        lambda found: found["metadata"]["generation"] > 1,
        labelSelector=NAMES,
    )
    try:
        with is_updated:
            yield
    finally:
        bed.testbed.resume("kube-proxy")


@contextmanager
def pods_over_quota(bed: Bed) -> Iterator[None]:
    # The probe's own pod requests 50m of CPU, each of the canary's 10m.
    with quota(bed, "little-cpu", **{"requests.cpu": "65m"}):
        yield


@contextmanager
def wrong_endpoint(bed: Bed) -> Iterator[None]:
    created: list[str] = []

    def add_wrong(api: Api, found: Json) -> None:
        name = f"{found['metadata']['name']}-wrong"
        labels = {"kubernetes.io/service-name": found["metadata"]["labels"]["kubernetes.io/service-name"]}
        created.append(f"{SLICES}/{name}")
        api.create(
            SLICES,
            {
                "metadata": {"name": name, "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [NO_POD], "conditions": {"ready": True}}],
                "ports": found.get("ports") or [{"port": 8080}],
            },
        )

    with on_each(bed.api, SLICES, add_wrong, labelSelector=NAMES):
        yield
    for path in created:
        with suppress(ApiError):  # already deleted
            bed.api.delete(path)


FAULTS = [
    Fault(
        "the controller manager is down",
        without_component("kube-controller-manager"),
        says=r"^rollout: deployment .* not rolled out after 4 s: .*Deployment controller has not processed it",
        parameters={"READY_TIMEOUT": "4"},
    ),
    Fault(
        "the scheduler is down",
        without_component("kube-scheduler"),
        says=r"^rollout: .* pod .*: Pending: no scheduler has processed it",
        parameters={"READY_TIMEOUT": "5"},
        runs_as="pinned",
    ),
    Fault(
        "the kubelet is down",
        without_component("kubelet"),
        says=r"^rollout: .* pod .*: Pending: scheduled to node node, whose kubelet has not acknowledged it",
        parameters={"READY_TIMEOUT": "5"},
        runs_as="process",
    ),
    Fault(
        "the quota allows only one of two pods",
        pods_over_quota,
        says=r"^rollout: .* FailedCreate: .*exceeded quota: little-cpu",
        parameters={"READY_TIMEOUT": "10"},
    ),
    Fault(
        "kube-proxy is down",
        without_component("kube-proxy"),
        says=r"^reach: service .* does not return version 'v1': no answer: .*all 2 pods answer directly: kube-proxy",
        parameters={"REACH_TIMEOUT": "5", "REQUEST_TIMEOUT": "2"},
    ),
    Fault(
        "kube-proxy freezes before the update",
        kube_proxy_freezes_before_the_update,
        says=r"^update: \d+ of \d+ requests lost during the update: ",
        parameters={"REACH_TIMEOUT": "12", "REQUEST_TIMEOUT": "1"},
    ),
    Fault(
        "an EndpointSlice lists an address that belongs to no pod",
        wrong_endpoint,
        says=rf"^(endpoints|update): endpointslice \S+-wrong lists {NO_POD}, which is not the address of a ready pod",
        parameters={"REACH_TIMEOUT": "4"},
    ),
    Fault(
        "the image of the update is missing",
        nothing_broken,
        says=r"^update: deployment .* not rolled out .* pod .*: (ErrImagePull|ImagePullBackOff): .*nothing-here",
        parameters={"READY_TIMEOUT": "20", "UPDATE_IMAGE": "docker.io/kubeprobe/nothing-here:dev"},
    ),
]
