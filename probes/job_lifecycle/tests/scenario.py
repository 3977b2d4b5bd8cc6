"""The faults that job-lifecycle must detect: controllers, kubelet and scheduler down, quota, finalizers, suspension."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from probes._api import Api, ApiError
from tests.harness.wait import until
from tests.probes.admission import quota
from tests.probes.component_faults import nothing_broken, without_component
from tests.probes.during_run import on_each
from tests.probes.paths import NAMESPACE, Json
from tests.probes.scenario import Bed, Fault

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
CRON_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/cronjobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
NAMES = "app.kubernetes.io/name=kubeprobe-job-lifecycle"


@contextmanager
def controllers_stop_when_the_job_is_complete(bed: Bed) -> Iterator[None]:
    def is_complete(job: Json) -> bool:
        conditions = job.get("status", {}).get("conditions") or []
        return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)

    def stop(_api: Api, _job: Json) -> None:
        bed.testbed.stop("kube-controller-manager")

    try:
        with on_each(bed.api, JOBS, stop, is_complete, labelSelector=NAMES):
            yield
    finally:
        bed.testbed.start("kube-controller-manager")


@contextmanager
def pods_over_quota(bed: Bed) -> Iterator[None]:
    # The probe's own pod requests 50m of CPU, the Job's 10m.
    with quota(bed, "little-cpu", **{"requests.cpu": "55m"}):
        yield


@contextmanager
def _held(bed: Bed, collection: str, when: Callable[[Json], object] = bool) -> Iterator[None]:
    """A finalizer on all of the probe's objects in this collection for which `when` is true."""
    held: list[str] = []

    def hold(api: Api, found: Json) -> None:
        path = f"{collection}/{found['metadata']['name']}"
        api.patch(path, {"metadata": {"finalizers": [*found["metadata"].get("finalizers", []), "example.com/audit"]}})
        held.append(path)

    with on_each(bed.api, collection, hold, when, labelSelector=NAMES):
        yield
    for path in held:
        with suppress(ApiError):  # already deleted
            bed.api.patch(path, {"metadata": {"finalizers": None}})


@contextmanager
def jobs_held(bed: Bed) -> Iterator[None]:
    with _held(bed, JOBS):
        yield


@contextmanager
def pods_held(bed: Bed) -> Iterator[None]:
    with _held(bed, PODS):
        yield


@contextmanager
def cron_pods_held(bed: Bed) -> Iterator[None]:
    with _held(bed, PODS, lambda pod: "-cron-" in pod["metadata"]["name"]):
        yield


def _suspend(api: Api, found: Json) -> None:
    api.patch(f"{CRON_JOBS}/{found['metadata']['name']}", {"spec": {"suspend": True}})


@contextmanager
def cron_jobs_suspended(bed: Bed) -> Iterator[None]:
    # A CronJob created at the end of a minute might create a Job before it is suspended.
    until("the first 45 s of a minute", lambda: time.time() % 60 < 45, within_s=20)
    with on_each(bed.api, CRON_JOBS, _suspend, labelSelector=NAMES):
        yield


# The TTL counts from a time in whole seconds: one of 1 s may be over when the probe observes that the Job is complete.
_SOON = {"DELETE_TIMEOUT": "5", "TTL": "5"}
FAULTS = [
    Fault(
        "the controller manager is down",
        without_component("kube-controller-manager"),
        says=r"^complete: job .* not complete after 5 s: kube-controller-manager's Job controller has not processed it",
        parameters={"READY_TIMEOUT": "5"},
    ),
    Fault(
        "the scheduler is down",
        without_component("kube-scheduler"),
        says=r"^complete: job .* pod .*: Pending: no scheduler has processed it",
        parameters={"READY_TIMEOUT": "5"},
        runs_as="pinned",
    ),
    Fault(
        "the kubelet is down",
        without_component("kubelet"),
        says=r"^complete: job .* pod .*: Pending: scheduled to node node, whose kubelet has not acknowledged it",
        parameters={"READY_TIMEOUT": "5"},
        runs_as="process",
    ),
    Fault(
        "the controllers stop when the Job is complete",
        controllers_stop_when_the_job_is_complete,
        says=r"^ttl: job .* still exists .* TTL controller has not deleted it",
        parameters=_SOON,
    ),
    Fault(
        "the quota does not allow the Job's pod",
        pods_over_quota,
        says=r"^complete: event FailedCreate: .*exceeded quota: little-cpu",
        parameters={"READY_TIMEOUT": "8"},
    ),
    Fault(
        "the image is missing",
        nothing_broken,
        says=r"^complete: job .* pod .*: (ErrImagePull|ImagePullBackOff): .*nothing-here",
        parameters={"READY_TIMEOUT": "15", "IMAGE": "docker.io/kubeprobe/nothing-here:dev"},
    ),
    Fault(
        "a finalizer holds the finished Job",
        jobs_held,
        says=r"^ttl: job .* still exists .* is held by the finalizer .*example\.com/audit",
        parameters=_SOON,
    ),
    Fault(
        "a finalizer holds the Job's pod",
        pods_held,
        says=r"^ttl: job .* it waits for its pod: .* is held by the finalizer .*example\.com/audit",
        parameters=_SOON,
    ),
    Fault(
        "a finalizer holds the CronJob's pods",
        cron_pods_held,
        says=r"^cascade: .* still exist 5 s after the deletion of cronjob .* finalizer .*example\.com/audit",
        parameters=_SOON,
    ),
    Fault(
        "CronJobs are suspended",
        cron_jobs_suspended,
        says=r"^cron: cronjob .* has no Job 3 s after its scheduled time \d\d:\d\d UTC: it is suspended",
        parameters={"CRON_TIMEOUT": "3"},
    ),
]
