"""Checks batch workloads: a Job completes and is deleted by its TTL, a CronJob creates a Job, and deletion cascades.

Parameters: IMAGE, TARGET_NAMESPACE, READY_TIMEOUT, CRON_TIMEOUT, TTL, DELETE_TIMEOUT (README.md).
"""

import time
from dataclasses import dataclass
from typing import Any, NoReturn

from kubeprobe_client import CheckFailed, Run, main, measure, run, step

from probes._api import Api, ApiError, PermissionMissing, connect, give_up_if_forbidden
from probes._objects import BUSYBOX, Cleanup, fresh_name
from probes._parameters import number, text
from probes._watching import ObjectWatch
from probes.job_lifecycle import objects
from probes.pod_lifecycle.pod import warnings, why_not_ready

Json = dict[str, Any]

PAUSE = 0.5
"""Seconds between two checks whether Jobs and pods are deleted."""


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    namespace: str
    image: str
    ready_timeout: float
    cron_timeout: float
    ttl: float
    delete_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            image=text("IMAGE", BUSYBOX),
            ready_timeout=number("READY_TIMEOUT", 30),
            cron_timeout=number("CRON_TIMEOUT", 15),
            ttl=number("TTL", 5),
            delete_timeout=number("DELETE_TIMEOUT", 30),
        )


class JobLifecycle:
    """A CronJob and, while it waits for its minute, a Job. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.cleanup = cleanup
        self.settings = settings
        self.run = this_run
        name = fresh_name("job-lifecycle")
        self.cron_name, self.job_name = f"{name}-cron", name
        self.namespace = f"/namespaces/{settings.namespace}"
        self.jobs = f"/apis/batch/v1{self.namespace}/jobs"
        self.cron_jobs = f"/apis/batch/v1{self.namespace}/cronjobs"
        self.pods = f"/api/v1{self.namespace}/pods"
        self.cron = ObjectWatch(api, f"{self.cron_jobs}/{self.cron_name}", {})
        self.cron_created = 0.0
        self.job = ObjectWatch(api, f"{self.jobs}/{self.job_name}", {})

    def run_steps(self) -> None:
        """Run all steps in order."""
        for name, action in {
            "create": self.create,
            "complete": lambda: self.wait_complete(self.job, self.job_name),
            "owner": self.check_owner,
            "ttl": self.wait_ttl,
            "cron": self.wait_scheduled,
            "cron complete": lambda: self.wait_complete(self.job, self.cron_name),
            "cascade": self.delete_cron_job,
        }.items():
            with step(name):
                action()

    def create(self) -> None:
        """Create the CronJob first, so that the Job runs while the CronJob waits for its minute."""
        settings, lifetime = self.settings, self.settings.ready_timeout + 60
        cron_job = objects.cron_job(self.run, self.cron_name, settings.namespace, settings.image, lifetime)
        self.cron.object = self.cleanup.create(self.cron_jobs, cron_job)
        self.cron_created = time.monotonic()
        job = objects.job(self.run, self.job_name, settings.namespace, settings.image, settings.ttl, lifetime)
        self.job.object = self.cleanup.create(self.jobs, job)

    def wait_complete(self, job: ObjectWatch, instance: str) -> None:
        """Wait until the Job's pod has run and the Job is complete."""
        began, seconds = time.monotonic(), self._at_most(self.settings.ready_timeout)
        known = job.object
        job.until(objects.has_finished, seconds)
        if not job.object:
            raise CheckFailed(f"job {known['metadata']['name']} was deleted by another client before it was complete")
        if not objects.condition_of(job.object, "Complete"):
            why = objects.why_not_finished(job.object, self._pods_of(instance), why_not_ready)
            name = job.object["metadata"]["name"]
            self._fail(f"job {name} not complete after {time.monotonic() - began:.0f} s: {why}", job)
        measure(f"{'cron_' if instance == self.cron_name else ''}complete_ms", _ms_since(began))

    def check_owner(self) -> None:
        """The Job must own its pod, or the pod is not deleted with the Job."""
        pods = self._pods_of(self.job_name)
        orphans = [pod["metadata"]["name"] for pod in pods if not objects.is_owned_by(pod, self.job.object)]
        if orphans or not pods:
            what = f"pods {', '.join(orphans)} are not owned by it" if orphans else "it has no pod"
            raise CheckFailed(f"job {self.job_name} is complete, but {what}")

    def wait_ttl(self) -> None:
        """Wait until the TTL controller has deleted the finished Job, and before it the Job's pod."""
        seconds = self._at_most(self.settings.ttl + self.settings.delete_timeout)
        if not self.job.until(lambda _job: False, seconds):
            self._fail(
                f"job {self.job_name} still exists {seconds:g} s after its end, though its "
                f"ttlSecondsAfterFinished is {self.settings.ttl:g}: {self._why_not_deleted()}",
                self.job,
            )
        self.cleanup.forget(f"{self.jobs}/{self.job_name}")

    def wait_scheduled(self) -> None:
        """Wait until the CronJob has created a Job for its first minute, and measure the delay."""
        created = objects.instant(self.cron.object["metadata"]["creationTimestamp"])
        due = objects.first_minute_after(created)
        until_due = (due - created).total_seconds() - (time.monotonic() - self.cron_created)
        self.cron.until(objects.has_scheduled, self._at_most(max(until_due, 0) + self.settings.cron_timeout))
        if not self.cron.object:
            raise CheckFailed(f"cronjob {self.cron_name} was deleted by another client before its first Job")
        created_jobs = self._jobs_of(self.cron_name)
        if not created_jobs or not objects.has_scheduled(self.cron.object):
            suspended = (self.cron.object.get("spec") or {}).get("suspend")
            why = (
                "it is suspended" if suspended else "kube-controller-manager's CronJob controller has not created a Job"
            )
            self._fail(
                f"cronjob {self.cron_name} has no Job {self.settings.cron_timeout:g} s after its scheduled time "
                f"{due:%H:%M} UTC: {why}",
                self.cron,
            )
        self.job = ObjectWatch(self.api, f"{self.jobs}/{created_jobs[0]['metadata']['name']}", created_jobs[0])
        self._check_lateness(created_jobs[0])

    def delete_cron_job(self) -> None:
        """Delete the CronJob; its Jobs and their pods must be deleted too."""
        self.api.delete(
            f"{self.cron_jobs}/{self.cron_name}",
            preconditions={"uid": self.cron.object["metadata"]["uid"]},
            propagationPolicy="Background",
        )
        began, seconds = time.monotonic(), self._at_most(self.settings.delete_timeout)
        while left := [*self._jobs_of(self.cron_name), *self._pods_of(self.cron_name)]:
            if time.monotonic() - began > seconds:
                names = ", ".join(one["metadata"]["name"] for one in left)
                raise CheckFailed(
                    f"{names} still exist {seconds:g} s after the deletion of cronjob {self.cron_name}: "
                    f"{self._held(left[-1], 'garbage collector')}"
                )
            time.sleep(PAUSE)
        measure("cascade_ms", _ms_since(began))
        self.cleanup.forget(f"{self.cron_jobs}/{self.cron_name}")

    def _check_lateness(self, job: Json) -> None:
        late = objects.lateness(job)
        if late is None:
            return
        measure("cron_late_s", late)
        if late > self.settings.cron_timeout:
            raise CheckFailed(
                f"cronjob {self.cron_name} created its Job {late:.0f} s after the scheduled time, more than "
                f"{self.settings.cron_timeout:g} (CRON_TIMEOUT)"
            )

    def _pods_of(self, instance: str) -> list[Json]:
        return self.api.get(self.pods, labelSelector=objects.selector(instance)).get("items") or []

    def _jobs_of(self, instance: str) -> list[Json]:
        return self.api.get(self.jobs, labelSelector=objects.selector(instance)).get("items") or []

    def _why_not_deleted(self) -> str:
        """Why the Job remains: finalizers, or its pod, as in every foreground deletion."""
        waits = "foregroundDeletion" in (self.job.object["metadata"].get("finalizers") or [])
        pods = self._pods_of(self.job_name) if waits else []
        if pods:
            return f"it waits for its pod: {self._held(pods[0], 'garbage collector')}"
        return self._held(self.job.object, "TTL controller")

    @staticmethod
    def _held(found: Json, controller: str) -> str:
        finalizers = ", ".join(found["metadata"].get("finalizers") or [])
        if finalizers:
            return f"{found['metadata']['name']} is held by the finalizer {finalizers}"
        return f"kube-controller-manager's {controller} has not deleted it"

    def _at_most(self, seconds: float) -> float:
        """The given seconds, or less if the run has less time left."""
        return min(seconds, round(max(self.run.remaining() - 1, 0), 1))

    def _fail(self, why: str, watch: ObjectWatch) -> NoReturn:
        """Fail with the cause, the API's last error, and the object's last warning events."""
        problem = [watch.problem] if watch.problem else []
        raise CheckFailed(why, *problem, *self._warnings(watch.object, why))

    def _warnings(self, found: Json, reported: str) -> list[str]:
        """The object's last warning events that add information; may be missing, as they are for the report only."""
        events = f"/api/v1{self.namespace}/events"
        try:
            listed = self.api.get(events, fieldSelector=f"involvedObject.uid={found['metadata']['uid']}")
        except PermissionMissing as error:
            return [f"no events: {error}"]
        except ApiError:
            return []
        return warnings(listed.get("items") or [], reported)


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


@main
def probe() -> None:
    """Run the lifecycles of Job and CronJob, and clean up in any case."""
    this_run = run()
    with connect() as api, Cleanup(api) as cleanup:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        try:
            JobLifecycle(api, cleanup, settings, this_run).run_steps()
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
