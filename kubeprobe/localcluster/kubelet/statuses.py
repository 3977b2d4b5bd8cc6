"""A pod's status (phase, conditions, container statuses) from the states of its containers.

Pure; names, reasons and rules are the kubelet's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kubeprobe.localcluster.objects import Object


@dataclass(frozen=True, slots=True)
class ContainerView:
    """The current state of one container. `state` is in the API's form."""

    name: str
    image: str
    state: Object
    last_state: Object
    restarts: int
    ready: bool
    container_id: str
    sidecar: bool = False

    @property
    def terminated(self) -> Object | None:
        """Its `terminated` state, if it has ended."""
        state: Object | None = self.state.get("terminated")
        return state

    @property
    def succeeded(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.terminated is not None and self.terminated["exitCode"] == 0

    @property
    def initialized(self) -> bool:
        """Whether the containers after it may start (as an init container)."""
        return "running" in self.state or self.succeeded if self.sidecar else self.succeeded

    @property
    def ready_as_init(self) -> bool:
        """Whether it counts as ready (as an init container)."""
        return self.ready if self.sidecar else self.succeeded

    def status(self) -> Object:
        """Its containerStatus."""
        started = "running" in self.state
        status: Object = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": f"{self.image}@localcluster" if self.container_id else "",
            "started": started,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status


@dataclass(frozen=True, slots=True)
class PodView:
    """The current state of a pod."""

    init: Sequence[ContainerView]
    main: Sequence[ContainerView]
    restart_policy: str
    finished: bool
    """No container will be started any more."""


def phase_of(view: PodView) -> str:
    """Pending, Running, Succeeded or Failed."""
    if view.finished and not any("running" in one.state for one in (*view.init, *view.main)):
        return _final_phase(view)
    if not all(one.initialized for one in view.init):
        return "Pending"
    begun = [one for one in view.main if "running" in one.state or one.terminated or one.last_state]
    return "Running" if begun else "Pending"


def _final_phase(view: PodView) -> str:
    return "Succeeded" if all(one.succeeded for one in view.main) else "Failed"


def _phase_for_conditions(view: PodView, phase: str) -> str:
    """The phase for conditions, which change a moment before the phase when a pod ends."""
    if not all(one.terminated for one in view.main):
        return phase
    final = _final_phase(view)
    never_again = view.restart_policy == "Never" or (view.restart_policy == "OnFailure" and final == "Succeeded")
    return final if never_again else phase


def pod_status(view: PodView, old: Object, now: str) -> Object:
    """The pod's new status; `old` provides the fields that stay, and the transition times of conditions."""
    phase = phase_of(view)
    status: Object = {
        **{key: value for key, value in old.items() if key in _KEPT},
        "phase": phase,
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": old.get("startTime", now),
        "containerStatuses": [one.status() for one in sorted(view.main, key=lambda one: one.name)],
    }
    if any(one.container_id for one in (*view.init, *view.main)):
        status |= {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    if view.init:
        status["initContainerStatuses"] = [{**one.status(), "ready": one.ready_as_init} for one in view.init]
    status["conditions"] = _conditions(view, phase, old, now)
    return status


_KEPT = ("qosClass", "reason", "message", "observedGeneration")


def _conditions(view: PodView, phase: str, old: Object, now: str) -> list[Object]:
    initialized = all(one.initialized for one in view.init)
    incomplete = [one.name for one in view.init if not one.initialized]
    unready = [one.name for one in view.main if not one.ready]
    why: Object = {}
    phase_now = _phase_for_conditions(view, phase)
    if phase_now == "Succeeded":
        why = {"reason": "PodCompleted"}
    elif phase_now == "Failed":
        why = {"reason": "PodFailed"}
    elif unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        why = {"reason": "ContainersNotReady", "message": message}
    waits: Object = {}
    if phase_now == "Succeeded":
        waits = {"reason": "PodCompleted"}
    elif incomplete:
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        waits = {"reason": "ContainersNotInitialized", "message": message}
    ready = not unready and initialized and phase == "Running"
    sandbox = phase not in ("Succeeded", "Failed")
    conditions = [
        _condition("PodReadyToStartContainers", sandbox, {}),
        _condition("Initialized", initialized or phase_now == "Succeeded", waits),
        _condition("Ready", ready, {} if ready else why),
        _condition("ContainersReady", ready, {} if ready else why),
        _condition("PodScheduled", True, {}),
    ]
    return with_transition_times(conditions, old.get("conditions") or (), now)


def _condition(type_: str, holds: bool, why: Object) -> Object:  # noqa: FBT001 -- it is the condition's value
    return {"type": type_, "status": "True" if holds else "False", "lastProbeTime": None, **why}


def with_transition_times(conditions: Sequence[Object], old: Sequence[Object], now: str) -> list[Object]:
    """The conditions with their lastTransitionTime."""
    before = {condition["type"]: condition for condition in old}
    return [
        {
            **condition,
            "lastTransitionTime": before[condition["type"]]["lastTransitionTime"]
            if before.get(condition["type"], {}).get("status") == condition["status"]
            else now,
        }
        for condition in conditions
    ]
