"""Pure functions for pods: environment, images, quantities, scheduling, statuses, shapes."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.localcluster.defaults import with_defaults
from kubeprobe.localcluster.errors import ApiError
from kubeprobe.localcluster.images import Image, ImageTable, PullError, default_pull_policy, full_name
from kubeprobe.localcluster.kubelet.environment import expand, path_replacer
from kubeprobe.localcluster.kubelet.host import Backoff
from kubeprobe.localcluster.kubelet.scheduling import unschedulable_message
from kubeprobe.localcluster.kubelet.statuses import ContainerView, PodView, phase_of, pod_status
from kubeprobe.localcluster.quantities import parse_quantity
from kubeprobe.localcluster.resources import PODS, SECRETS
from kubeprobe.localcluster.shapes import decoded
from kubeprobe.localcluster.simulate import DEFAULT_SCRIPT, ScriptError
from kubeprobe.localcluster.validation import faults_of

WAITING = {"waiting": {"reason": "ContainerCreating"}}
RUNNING = {"running": {"startedAt": "2026-11-23T12:00:00Z"}}


def ended(code: int) -> dict:
    return {"terminated": {"exitCode": code, "reason": "x"}}


def view(state: dict, name: str = "probe", *, sidecar: bool = False, last: dict | None = None) -> ContainerView:
    return ContainerView(name, "image", state, last or {}, 0, "running" in state, "id", sidecar)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$(A)$(B)", "12"),
        ("$(C)", "$(C)"),
        ("$$(A)", "$(A)"),
        ("$$", "$"),
        ("$A", "$A"),
        ("cost: 5$", "cost: 5$"),
        ("$(A", "$(A"),
    ],
)
def test_references_are_expanded_as_the_kubelet_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("/dev/termination-log", "/real/log"),
        ("echo > /dev/termination-log; exit", "echo > /real/log; exit"),
        ("/data/file", "/volume/file"),
        ("FILE=/data", "FILE=/volume"),
        ("/database", "/database"),
        ("/other/data", "/other/data"),
        ("/data-1", "/data-1"),
        ("/data/deep/x", "/deep-volume/x"),
    ],
)
def test_only_whole_paths_are_replaced(text: str, replaced: str) -> None:
    paths = {"/dev/termination-log": "/real/log", "/data": "/volume", "/data/deep": "/deep-volume"}
    assert path_replacer(paths)(text) == replaced


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("kubeprobe/probes:dev", "docker.io/kubeprobe/probes:dev"),
        ("registry.example.com/a/b:1", "registry.example.com/a/b:1"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
    ],
)
def test_image_names_are_completed(name: str, full: str) -> None:
    assert full_name(name) == full


def test_the_tag_decides_when_to_pull() -> None:
    assert default_pull_policy("a") == default_pull_policy("a:latest") == "Always"
    assert default_pull_policy("a:1") == default_pull_policy("localhost:5000/a:1") == "IfNotPresent"


@pytest.mark.parametrize(
    ("name", "policy", "reason"),
    [
        ("example.com/none:1", "IfNotPresent", "ErrImagePull"),
        ("example.com/none:1", "Never", "ErrImageNeverPull"),
        ("Not An Image", "IfNotPresent", "InvalidImageName"),
        ("example.com/limited:1", "IfNotPresent", "ErrImagePull"),
    ],
)
def test_a_failed_pull_has_the_kubelets_reason(name: str, policy: str, reason: str) -> None:
    table = ImageTable([Image("example.com/limited:*", pull_error="429 Too Many Requests")])
    with pytest.raises(PullError) as failed:
        table.find(name, policy)
    assert failed.value.reason == reason


def test_an_exact_tag_is_preferred_to_any_tag() -> None:
    any_tag, exact = Image("docker.io/a/b:*"), Image("docker.io/a/b:1")
    table = ImageTable([any_tag, exact])
    assert table.find("a/b:1", "Always") is exact
    assert table.find("a/b:2", "Always") is any_tag


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", "1"), ("100m", "0.1"), ("1Ki", "1024"), ("1.5Gi", "1610612736"), ("2k", "2000"), ("1e3", "1000"), (2, "2")],
)
def test_quantities(text: Any, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "abc", "1x", "Mi", "1 Mi", "--1"])
def test_an_invalid_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def test_back_off_doubles_up_to_its_limit() -> None:
    backoff = Backoff()
    assert [backoff.after(n) for n in (1, 2, 3, 6, 7, 1000)] == [10, 20, 40, 300, 300, 300]


@pytest.mark.parametrize(
    ("spec", "reasons"),
    [
        ({}, None),
        ({"nodeSelector": {"zone": "a"}}, None),
        ({"nodeSelector": {"zone": "b"}}, "1 node(s) didn't match Pod's node affinity/selector"),
        ({"requests": {"cpu": "1500m"}}, None),
        ({"requests": {"cpu": "2500m"}}, "1 Insufficient cpu"),
        ({"requests": {"cpu": "3", "memory": "2Gi"}}, "1 Insufficient cpu, 1 Insufficient memory"),
        ({"requests": {"example.com/gpu": "1"}}, "1 Insufficient example.com/gpu"),
    ],
)
def test_an_unschedulable_pod_has_the_schedulers_message(spec: dict, reasons: str | None) -> None:
    node = {"metadata": {"labels": {"zone": "a"}}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}
    requests = spec.pop("requests", {})
    pod = {"spec": {**spec, "containers": [{"resources": {"requests": requests}}]}}
    message = unschedulable_message(pod, node)
    assert (message is None) is (reasons is None)
    assert reasons is None or (message or "").startswith(f"0/1 nodes are available: {reasons}. ")


@pytest.mark.parametrize(
    ("init", "main", "finished", "phase"),
    [
        ([], [WAITING], False, "Pending"),
        ([], [RUNNING], False, "Running"),
        ([], [RUNNING, WAITING], False, "Running"),
        ([], [ended(0)], False, "Running"),
        ([], [ended(0)], True, "Succeeded"),
        ([], [ended(0), ended(1)], True, "Failed"),
        ([], [ended(0), RUNNING], True, "Running"),
        ([RUNNING], [WAITING], False, "Pending"),
        ([ended(0)], [WAITING], False, "Pending"),
        ([ended(1)], [WAITING], True, "Failed"),
    ],
)
def test_the_phase_follows_the_containers(init: list, main: list, finished: object, phase: str) -> None:
    pod = PodView([view(s, "init") for s in init], [view(s) for s in main], "Never", bool(finished))
    assert phase_of(pod) == phase


def test_a_container_that_waits_for_its_restart_has_run() -> None:
    crashing = view({"waiting": {"reason": "CrashLoopBackOff"}}, last=ended(1))
    assert phase_of(PodView([], [crashing], "Always", finished=False)) == "Running"


def test_a_running_sidecar_lets_the_probe_start() -> None:
    pod = PodView([view(RUNNING, "sidecar", sidecar=True)], [view(RUNNING)], "Never", finished=False)
    status = pod_status(pod, {}, "now")
    assert status["phase"] == "Running"
    assert status["initContainerStatuses"][0]["ready"] is True


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    waiting = PodView([], [view(WAITING)], "Never", finished=False)
    running = PodView([], [view(RUNNING)], "Never", finished=False)
    first = pod_status(waiting, {}, "t1")
    times = {c["type"]: c["lastTransitionTime"] for c in pod_status(running, first, "t2")["conditions"]}
    assert times["Ready"] == times["ContainersReady"] == "t2"
    assert times["PodScheduled"] == times["Initialized"] == "t1"


def test_the_start_time_stays() -> None:
    pod = PodView([], [view(RUNNING)], "Never", finished=False)
    assert pod_status(pod, pod_status(pod, {}, "t1"), "t2")["startTime"] == "t1"


@pytest.mark.parametrize(
    ("obj", "error"),
    [
        ({"spec": "x"}, "cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"),
        ({"metadata": {"labels": {"a": 1}}}, "Go struct field ObjectMeta.metadata.labels of type string"),
        ({"spec": {"containers": {}}}, "Go struct field PodSpec.spec.containers of type []v1.Container"),
        ({"spec": {"activeDeadlineSeconds": "x"}}, "PodSpec.spec.activeDeadlineSeconds of type int64"),
        ({"spec": {"hostNetwork": "yes"}}, "cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork"),
        ({"spec": {"containers": ["x"]}}, "PodSpec.spec.containers of type v1.Container"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(obj: dict, error: str) -> None:
    with pytest.raises(ApiError, match="cannot be handled as a Pod") as refused:
        decoded(PODS, obj)
    assert error in refused.value.message


def test_nulls_and_unknown_fields_are_accepted_unless_strict() -> None:
    pod = {"spec": {"containers": [{"name": None, "colour": "blue", "env": None}], "size": 1}}
    decoded(PODS, pod)
    with pytest.raises(ApiError) as refused:
        decoded(PODS, pod, strict=True)
    assert 'unknown field "spec.containers[0].colour", unknown field "spec.size"' in refused.value.message


def test_an_error_in_base64_names_the_byte() -> None:
    decoded(SECRETS, {"data": {"k": "aHVzaA=="}})
    with pytest.raises(ApiError, match="illegal base64 data at input byte 2"):
        decoded(SECRETS, {"data": {"k": "aa!!"}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "image", "env", "containers", "resources", "limits"]), inner)
        ),
        max_leaves=10,
    )
)
def test_validation_never_crashes_on_any_pod(anything: Any) -> None:
    pod = {"metadata": {"name": "x"}, "spec": {"containers": anything}}
    try:
        pod = decoded(PODS, pod)
    except ApiError:
        return
    faults_of(PODS, with_defaults(PODS, pod))


def test_a_script_with_an_unknown_field_is_refused() -> None:
    assert DEFAULT_SCRIPT.evolve({"after": 2}).after == 2
    with pytest.raises(ScriptError, match=r"unknown script fields \['colour'\]"):
        DEFAULT_SCRIPT.evolve({"colour": "blue"})
