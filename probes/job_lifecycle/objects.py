"""The Job and the CronJob of the probe, and the meaning of their status."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kubeprobe_client import Run

from probes._objects import metadata, pod_spec

Json = dict[str, Any]

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""The CronJob controller's annotation of each Job: its scheduled time."""


def selector(instance: str) -> str:
    """The label selector of all objects of one Job or CronJob."""
    return f"{INSTANCE}={instance}"


def job(run: Run, name: str, namespace: str, image: str, ttl: float, seconds: float) -> Json:
    """A Job whose one pod does nothing and succeeds; deleted `ttl` seconds after its end; deadline `seconds`."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(run, name, namespace, **_labels(name)),
        "spec": _job_spec(run, name, image, seconds) | {"ttlSecondsAfterFinished": round(ttl)},
    }


def cron_job(run: Run, name: str, namespace: str, image: str, seconds: float) -> Json:
    """A CronJob that creates such a Job every minute."""
    labels = {**run.labels, **_labels(name)}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(run, name, namespace, **_labels(name)),
        "spec": {
            "schedule": "* * * * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"metadata": {"labels": labels}, "spec": _job_spec(run, name, image, seconds)},
        },
    }


def _job_spec(run: Run, name: str, image: str, seconds: float) -> Json:
    container = {"name": "work", "image": image, "command": ["true"]}
    return {
        "backoffLimit": 0,
        "activeDeadlineSeconds": round(seconds),
        "template": {
            "metadata": {"labels": {**run.labels, **_labels(name)}},
            "spec": pod_spec(container, restartPolicy="Never"),
        },
    }


def _labels(instance: str) -> dict[str, str]:
    return {NAME: "kubeprobe-job-lifecycle", INSTANCE: instance}


def condition_of(found: Json, *kinds: str) -> Json:
    """The first of these conditions that is true; empty if none is."""
    conditions: list[Json] = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] in kinds and one["status"] == "True"), {})


def has_finished(found: Json) -> bool:
    """Whether a Job is complete or has failed."""
    return bool(condition_of(found, "Complete", "Failed"))


def has_scheduled(found: Json) -> bool:
    """Whether a CronJob has created a Job."""
    return bool((found.get("status") or {}).get("lastScheduleTime"))


def why_not_finished(found: Json, pods: list[Json], of_pod: Callable[[Json], str]) -> str:
    """Why a Job has not finished; `of_pod` returns the cause for a pod."""
    failed = condition_of(found, "Failed", "FailureTarget")
    if failed:
        return f"it failed: {failed.get('reason', '')}: {failed.get('message', '')}"
    if pods:
        return f"pod {pods[0]['metadata']['name']}: {of_pod(pods[0])}"
    if not (found.get("status") or {}).get("startTime"):
        return "kube-controller-manager's Job controller has not processed it"
    return "the Job controller could not create its pod"


def is_owned_by(found: Json, owner: Json) -> bool:
    """Whether the object's controller is this owner."""
    references = found["metadata"].get("ownerReferences") or []
    return any(one["uid"] == owner["metadata"]["uid"] and one.get("controller") for one in references)


def instant(text: str) -> datetime:
    """A time in the format of Kubernetes."""
    return datetime.fromisoformat(text).astimezone(UTC)


def first_minute_after(created: datetime) -> datetime:
    """The first scheduled time of a CronJob that runs every minute."""
    return created.replace(second=0, microsecond=0) + timedelta(minutes=1)


def lateness(job: Json) -> float | None:
    """Seconds from the scheduled time of a CronJob's Job to its creation; None if unknown."""
    scheduled = (job["metadata"].get("annotations") or {}).get(SCHEDULED)
    if scheduled is None:
        return None
    return (instant(job["metadata"]["creationTimestamp"]) - instant(scheduled)).total_seconds()
