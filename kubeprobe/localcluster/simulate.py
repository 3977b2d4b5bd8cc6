"""Simulated pods: a script defines when each starts and how it ends. For fleets of simulated clusters.

No process and no task per pod: each step is a timer that writes the pod's next status.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from kubeprobe.localcluster.cluster import LogOptions
from kubeprobe.localcluster.kubelet.statuses import ContainerView, PodView, pod_status
from kubeprobe.localcluster.objects import Object, timestamp
from kubeprobe.localcluster.registry import Registry, Target
from kubeprobe.localcluster.resources import PODS
from kubeprobe.localcluster.store import Change

ANNOTATION = "localcluster.kubeprobe.io/script"
NODE = "simulated"
_PASSING_REPORT = '{"ok":true,"errors":[],"steps":[],"metrics":{}}'


class ScriptError(ValueError):
    """A script has an unknown field or is not a JSON object."""


@dataclass(frozen=True, slots=True)
class Script:
    """The behaviour of a simulated pod. Times are in seconds."""

    start: float = 0.0
    """Time from creation to running."""
    after: float = 1.0
    """Time from running to the end."""
    exitCode: int = 0  # noqa: N815 -- as in the API
    message: str = _PASSING_REPORT
    """The termination message."""
    reason: str = ""
    """The terminated container's reason, such as `OOMKilled`; by default Completed or Error."""
    log: str = ""
    waiting: str = ""
    """If set, the container never starts and has this waiting reason, such as ImagePullBackOff."""
    unschedulable: bool = False
    """The pod is never scheduled."""
    evicted: bool = False
    """The pod ends as Failed/Evicted, without container statuses."""
    preempted: bool = False
    """The pod ends as Failed with a DisruptionTarget condition, and is deleted."""
    nodeLost: bool = False  # noqa: N815
    """Instead of ending, the pod's node is lost: Ready becomes False; the pod gets a deletionTimestamp and stays."""
    vanish: bool = False
    """Instead of ending, the pod is removed, as if somebody had deleted it."""

    def evolve(self, changes: Object) -> "Script":
        """The script with some fields changed. Raises `ScriptError` for unknown fields."""
        known = {field.name for field in fields(self)}
        if not isinstance(changes, dict) or not changes.keys() <= known:
            unknown = sorted(changes.keys() - known) if isinstance(changes, dict) else [changes]
            raise ScriptError(f"unknown script fields {unknown}; known are {sorted(known)}")
        return replace(self, **changes)


DEFAULT_SCRIPT = Script()


class Simulator:
    """Runs the scripted pods of one simulated cluster."""

    def __init__(self, registry: Registry, script: Script) -> None:
        self._registry = registry
        self._script = script

    def on_change(self, change: Change) -> None:
        """Start a new pod; remove one that is being deleted."""
        loop = asyncio.get_running_loop()
        pod = change.stored.object
        if change.type == "ADDED":
            loop.call_soon(self._begin, pod)
        elif change.type == "MODIFIED" and "deletionTimestamp" in pod["metadata"]:
            before = change.previous.object["metadata"] if change.previous else {}
            if "deletionTimestamp" not in before and not self._script_of(pod).nodeLost:
                loop.call_soon(self._finish_deletion, pod)

    async def read_log(self, pod: Object, options: LogOptions) -> AsyncIterator[bytes]:
        """The script's `log`."""
        text = self._script_of(pod).log.encode()
        yield text if options.limit_bytes is None else text[: options.limit_bytes]

    async def stop(self) -> None:
        """Nothing to do: there are no processes."""

    def _script_of(self, pod: Object) -> Script:
        """The pod's own script over the fleet's. With an invalid one, the pod fails with the error as its message."""
        text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
        if not text:
            return self._script
        try:
            return self._script.evolve(orjson.loads(text))
        except (orjson.JSONDecodeError, ScriptError) as error:
            return Script(exitCode=1, message=f"annotation {ANNOTATION}: {error}")

    def _begin(self, pod: Object) -> None:
        script = self._script_of(pod)
        if script.unschedulable:
            self._refuse_to_schedule(pod)
            return
        stored = self._current(pod)
        if stored is None:
            return
        bound = {**stored, "spec": {**stored["spec"], "nodeName": NODE}}
        waiting = {"reason": script.waiting or "ContainerCreating"}
        state = {"waiting": waiting}
        status = self._status(bound, state)
        self._registry.store.put(PODS, {**bound, "status": status})
        if not script.waiting:
            self._later(script.start, self._run, pod)

    def _run(self, pod: Object) -> None:
        state = {"running": {"startedAt": self._now()}}
        if self._set_state(pod, state):
            self._later(self._script_of(pod).after, self._end, pod)

    def _end(self, pod: Object) -> None:
        script = self._script_of(pod)
        current = self._current(pod)
        if current is None:
            return
        if script.evicted or script.preempted:
            self._disrupt(current, script)
        elif script.nodeLost:
            self._lose_node(current)
        elif script.vanish:
            self._registry.store.remove(PODS, current)
        else:
            self._terminate(current, script)

    def _terminate(self, pod: Object, script: Script) -> None:
        code = 137 if script.reason == "OOMKilled" and not script.exitCode else script.exitCode
        running = pod["status"]["containerStatuses"][0]["state"].get("running", {})
        terminated = {
            "exitCode": code,
            "reason": script.reason or ("Error" if code else "Completed"),
            "message": script.message,
            "startedAt": running.get("startedAt", self._now()),
            "finishedAt": self._now(),
        }
        self._set_state(pod, {"terminated": terminated}, finished=True)

    def _disrupt(self, pod: Object, script: Script) -> None:
        reason, message = ("Evicted", "The node was low on resource: memory. ") if script.evicted else ("", "")
        why = "TerminationByKubelet" if script.evicted else "PreemptionByScheduler"
        condition = {"type": "DisruptionTarget", "status": "True", "reason": why, "message": message}
        status: Object = {"phase": "Failed", "startTime": pod["status"].get("startTime", self._now())}
        status["conditions"] = [{**condition, "lastProbeTime": None, "lastTransitionTime": self._now()}]
        if reason:
            status |= {"reason": reason, "message": message}
        self._set_status(pod, status)
        if script.preempted and (current := self._current(pod)):
            self._registry.store.remove(PODS, current)

    def _lose_node(self, pod: Object) -> None:
        message = f"Node {NODE} which was running pod {pod['metadata']['name']} is unresponsive"
        conditions = [
            {**c, "status": "False", "reason": "NodeLost"} if c["type"] == "Ready" else c
            for c in pod["status"]["conditions"]
        ]
        status = {**pod["status"], "conditions": conditions, "reason": "NodeLost", "message": message}
        metadata = {**pod["metadata"], "deletionTimestamp": self._now(), "deletionGracePeriodSeconds": 30}
        self._registry.store.put(PODS, {**pod, "metadata": metadata, "status": status})

    def _refuse_to_schedule(self, pod: Object) -> None:
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
            "lastProbeTime": None,
            "lastTransitionTime": self._now(),
        }
        self._set_status(pod, {"phase": "Pending", "qosClass": "BestEffort", "conditions": [condition]})

    def _finish_deletion(self, pod: Object) -> None:
        self._registry.finish_deletion(self._target(pod), pod["metadata"]["uid"])

    def _set_state(self, pod: Object, state: Object, *, finished: bool = False) -> bool:
        current = self._current(pod)
        if current is None:
            return False
        return self._set_status(pod, self._status(current, state, finished=finished))

    def _set_status(self, pod: Object, status: Object) -> bool:
        return self._registry.set_status(self._target(pod), pod["metadata"]["uid"], status) is not None

    def _status(self, pod: Object, state: Object, *, finished: bool = False) -> Object:
        """The status of a pod whose containers are all in the same state."""
        containers = [
            ContainerView(
                name=spec["name"],
                image=spec["image"],
                state=state,
                last_state={},
                restarts=0,
                ready="running" in state,
                container_id="" if "waiting" in state else f"simulated://{pod['metadata']['uid']}",
            )
            for spec in pod["spec"]["containers"]
        ]
        view = PodView(init=(), main=containers, restart_policy=pod["spec"]["restartPolicy"], finished=finished)
        return pod_status(view, pod.get("status") or {}, self._now())

    def _current(self, pod: Object) -> Object | None:
        stored = self._registry.store.get(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        if stored is None or stored.object["metadata"]["uid"] != pod["metadata"]["uid"]:
            return None
        return stored.object

    def _target(self, pod: Object) -> Target:
        return Target(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _later(self, seconds: float, act: Any, pod: Object) -> None:
        loop = asyncio.get_running_loop()
        if seconds > 0:
            loop.call_later(seconds, act, pod)
        else:
            loop.call_soon(act, pod)

    def _now(self) -> str:
        return timestamp(self._registry.clock())
