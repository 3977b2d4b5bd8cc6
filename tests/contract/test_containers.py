"""Containers: start, environment, volumes, end, and the resulting status."""

import json

import pytest

from tests.contract.contract_api import BUSYBOX, Api, conditions, phase, pod, pods, state

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
NOT_LOADED = "docker.io/kubeprobe/not-there:dev"


async def message(api: Api, namespace: str, body: dict) -> str:
    """What the container of a pod wrote as its termination message."""
    await api.post(pods(namespace), body)
    ended = await api.ended(namespace, body["metadata"]["name"])
    return str(state(ended)["terminated"].get("message", ""))


async def test_exit_0_is_succeeded(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("good", "echo fine > /dev/termination-log"))
    ended = await api.ended(namespace, "good")
    terminated = state(ended)["terminated"]
    assert phase(ended) == "Succeeded"
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (0, "Completed", "fine\n")
    assert terminated["startedAt"] <= terminated["finishedAt"]
    assert {type_: (c["status"], c.get("reason")) for type_, c in conditions(ended).items()} == {
        "PodReadyToStartContainers": ("False", None),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": ("True", None),
    }
    status = ended["status"]["containerStatuses"][0]
    assert (status["name"], status["ready"], status["started"]) == ("probe", False, False)
    assert (status["restartCount"], status["lastState"]) == (0, {})


async def test_exit_3_is_failed(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("bad", "exit 3"))
    ended = await api.ended(namespace, "bad")
    assert phase(ended) == "Failed"
    assert (state(ended)["terminated"]["exitCode"], state(ended)["terminated"]["reason"]) == (3, "Error")
    assert "message" not in state(ended)["terminated"]
    assert conditions(ended)["Ready"]["reason"] == "PodFailed"


async def test_a_signal_is_an_exit_code_above_128(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("shot", "sh -c 'kill -9 $$$$'; exit $?"))
    assert state(await api.ended(namespace, "shot"))["terminated"]["exitCode"] == 137


async def test_a_running_pod_is_ready(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("runs", FOREVER))
    running = await api.pod_until(namespace, "runs", lambda p: phase(p) == "Running")
    assert all(condition["status"] == "True" for condition in conditions(running).values())
    assert running["spec"]["nodeName"]
    assert running["status"].keys() >= {"startTime", "podIP", "podIPs", "hostIP", "hostIPs"}
    status = running["status"]["containerStatuses"][0]
    assert (status["ready"], status["started"]) == (True, True)
    assert status["state"]["running"]["startedAt"]
    assert status.keys() >= {"image", "imageID", "containerID", "lastState", "restartCount"}


async def test_the_end_of_a_long_message_is_kept(api: Api, namespace: str) -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo line-$i-xxxxxxxxxx; i=$((i+1)); done > /dev/termination-log"
    expected = await message(api, namespace, pod("long", script))
    assert len(expected) == 4096
    assert expected.endswith("line-499-xxxxxxxxxx\n")


async def test_fallback_to_logs_on_error_uses_the_log_as_message(api: Api, namespace: str) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    assert await message(api, namespace, pod("fails", "echo why; exit 1", container=policy)) == "why\n"
    assert await message(api, namespace, pod("passes", "echo why; exit 0", container=policy)) == ""


async def test_the_message_may_be_at_another_path(api: Api, namespace: str) -> None:
    container = {"terminationMessagePath": "/tmp/report", "env": [{"name": "FILE", "value": "/tmp/report"}]}
    body = pod("elsewhere", 'echo "done" > "$FILE"', container=container)
    assert await message(api, namespace, body) == "done\n"


async def test_variables_come_from_every_source(api: Api, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    await api.post(f"{base}/secrets", {"metadata": {"name": "s"}, "stringData": {"password": "hush", "A": "1"}})
    await api.post(f"{base}/configmaps", {"metadata": {"name": "m"}, "data": {"colour": "blue", "B": "2"}})
    env = [
        {"name": "PLAIN", "value": "plain"},
        {"name": "COMPOSED", "value": "$(PLAIN)-$(MISSING)-$$(PLAIN)"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "colour"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "OPTIONAL", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "m"}, "prefix": "P_"}],
        "command": ["sh", "-c", 'echo "$1"; env', "$(PLAIN)"],
        "args": ["argument $(COLOUR) $(MISSING)"],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    body = pod("env", container=container)
    created = await api.post(pods(namespace), body)
    ended = await api.ended(namespace, "env")
    assert phase(ended) == "Succeeded", ended
    first, *lines = (await api.get(pods(namespace, "env", "log"))).splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert first == "argument blue $(MISSING)"
    wanted = {
        "PLAIN": "plain",
        "COMPOSED": "plain-$(MISSING)-$(PLAIN)",
        "SECRET": "hush",
        "COLOUR": "blue",
        "NAME": "env",
        "NAMESPACE": namespace,
        "POD_UID": created["metadata"]["uid"],
        "LABEL": "env",
        "ACCOUNT": "default",
        "MEMORY": "64",
        "A": "1",
        "P_B": "2",
        "HOSTNAME": "env",
    }
    assert {name: seen.get(name) for name in wanted} == wanted
    assert seen["IP"] == ended["status"]["podIP"]
    assert seen["NODE"] == ended["spec"]["nodeName"]
    assert "OPTIONAL" not in seen
    assert "VIRTUAL_ENV" not in seen


async def test_volumes_are_directories(api: Api, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    await api.post(f"{base}/secrets", {"metadata": {"name": "s"}, "stringData": {"a": "1", "b": "2"}})
    await api.post(f"{base}/configmaps", {"metadata": {"name": "m"}, "data": {"c": "3"}})
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "a", "path": "renamed"}]}},
        {"name": "map", "configMap": {"name": "m"}},
    ]
    mounts = [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "secret", "mountPath": "/etc/secret"},
        {"name": "map", "mountPath": "/etc/map"},
    ]
    script = "echo x > /scratch/file && cat /scratch/file /etc/secret/renamed /etc/map/c && ls /etc/secret"
    body = pod("volumes", script, container={"volumeMounts": mounts}, volumes=volumes)
    await api.post(pods(namespace), body)
    ended = await api.ended(namespace, "volumes")
    assert (await api.get(pods(namespace, "volumes", "log"))).split() == ["x", "13renamed"], ended


async def test_containers_of_a_pod_share_a_volume_and_decide_the_phase_together(api: Api, namespace: str) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    script = "while [ ! -f /shared/done ]; do sleep 0.1; done; exit 4"
    other = {"name": "other", "image": BUSYBOX, "command": ["sh", "-c", "touch /shared/done"], "volumeMounts": mounts}
    volumes = [{"name": "shared", "emptyDir": {}}]
    body = pod("two", script, container={"volumeMounts": mounts}, more=[other], volumes=volumes)
    await api.post(pods(namespace), body)
    ended = await api.ended(namespace, "two")
    assert phase(ended) == "Failed"
    assert [s["name"] for s in ended["status"]["containerStatuses"]] == ["other", "probe"]
    codes = {s["name"]: s["state"]["terminated"]["exitCode"] for s in ended["status"]["containerStatuses"]}
    assert codes == {"probe": 4, "other": 0}


async def test_init_containers_run_first_and_in_order(api: Api, namespace: str) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    init = [
        {"name": f"init-{n}", "image": BUSYBOX, "command": ["sh", "-c", f"echo {n} >> /shared/order"]}
        | {"volumeMounts": mounts}
        for n in (1, 2)
    ]
    volumes = [{"name": "shared", "emptyDir": {}}]
    body = pod("init", "cat /shared/order", initContainers=init, volumes=volumes, container={"volumeMounts": mounts})
    await api.post(pods(namespace), body)
    ended = await api.ended(namespace, "init")
    assert (await api.get(pods(namespace, "init", "log"))).split() == ["1", "2"]
    reasons = [s["state"]["terminated"]["reason"] for s in ended["status"]["initContainerStatuses"]]
    assert reasons == ["Completed", "Completed"]


async def test_a_failed_init_container_fails_the_pod(api: Api, namespace: str) -> None:
    init = [{"name": "init", "image": BUSYBOX, "command": ["sh", "-c", "exit 9"]}]
    await api.post(pods(namespace), pod("init-fails", initContainers=init))
    ended = await api.ended(namespace, "init-fails")
    assert phase(ended) == "Failed"
    assert ended["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 9
    assert state(ended)["waiting"]["reason"] == "PodInitializing"
    assert conditions(ended)["Initialized"]["reason"] == "ContainersNotInitialized"


async def test_a_sidecar_starts_before_and_ends_after_the_probe(api: Api, namespace: str) -> None:
    sidecar = {"name": "sidecar", "image": BUSYBOX, "command": ["sh", "-c", FOREVER], "restartPolicy": "Always"}
    await api.post(pods(namespace), pod("sidecar", "sleep 0.3; exit 0", initContainers=[sidecar]))
    ended = await api.ended(namespace, "sidecar")
    assert phase(ended) == "Succeeded"
    terminated = ended["status"]["initContainerStatuses"][0]["state"]["terminated"]
    assert terminated["finishedAt"] >= state(ended)["terminated"]["finishedAt"]


async def test_a_sidecar_that_is_an_ordinary_container_keeps_the_pod_running(api: Api, namespace: str) -> None:
    other = {"name": "other", "image": BUSYBOX, "command": ["sh", "-c", FOREVER]}
    await api.post(pods(namespace), pod("mixed", "exit 1", more=[other]))

    def probe_ended(seen: dict) -> bool:
        statuses = {s["name"]: s["state"] for s in seen["status"].get("containerStatuses", [])}
        return "terminated" in statuses.get("probe", {}) and "running" in statuses.get("other", {})

    seen = await api.pod_until(namespace, "mixed", probe_ended)
    assert phase(seen) == "Running"
    assert conditions(seen)["Ready"]["reason"] == "ContainersNotReady"
    assert conditions(seen)["Ready"]["message"] == "containers with unready status: [probe]"


async def test_a_failure_is_restarted_and_then_backed_off(api: Api, namespace: str) -> None:
    created = await api.post(pods(namespace), pod("crash", "exit 2", restartPolicy="OnFailure"))

    def backs_off(seen: dict) -> bool:
        return state(seen).get("waiting", {}).get("reason") == "CrashLoopBackOff"

    seen = await api.pod_until(namespace, "crash", backs_off, created["metadata"]["resourceVersion"])
    status = seen["status"]["containerStatuses"][0]
    assert phase(seen) == "Running"
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 2
    uid = seen["metadata"]["uid"]
    expected = f"back-off 10s restarting failed container=probe pod=crash_{namespace}({uid})"
    assert status["state"]["waiting"]["message"] == expected


async def test_a_success_is_not_restarted_on_failure(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("once", "exit 0", restartPolicy="OnFailure"))
    assert phase(await api.ended(namespace, "once")) == "Succeeded"


async def test_a_pod_beyond_its_deadline_is_failed(api: Api, namespace: str) -> None:
    created = await api.post(pods(namespace), pod("late", FOREVER, activeDeadlineSeconds=1))
    states = []

    def has_failed(seen: dict) -> bool:
        states.append(state(seen))
        return phase(seen) == "Failed"

    ended = await api.pod_until(namespace, "late", has_failed, created["metadata"]["resourceVersion"])
    assert (phase(ended), ended["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert ended["status"]["message"] == "Pod was active on the node longer than the specified deadline"
    has_run = any("running" in seen for seen in states)  # the start of a container may take longer than a second
    assert "terminated" in states[-1] or not has_run


async def test_a_container_above_its_memory_limit_is_killed(api: Api, namespace: str) -> None:
    resources = {"limits": {"memory": "32Mi"}}
    # The shell itself grows, so that the container's first process is killed.
    # It stops at 64 MiB: a busy machine might notice so late that other processes lack memory.
    script = "x=aaaaaaaaaaaaaaaa; while [ ${#x} -lt 67108864 ]; do x=$x$x; done; while :; do sleep 0.1; done"
    await api.post(pods(namespace), pod("hungry", script, container={"resources": resources}))
    ended = await api.ended(namespace, "hungry")
    terminated = state(ended)["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")


async def test_pull_policy_never_with_a_missing_image(api: Api, namespace: str) -> None:
    container = {"image": NOT_LOADED, "imagePullPolicy": "Never"}
    await api.post(pods(namespace), pod("never", container=container))
    seen = await api.waiting(namespace, "never", "ErrImageNeverPull")
    assert phase(seen) == "Pending"
    expected = f'Container image "{NOT_LOADED}" is not present with pull policy of Never'
    assert state(seen)["waiting"]["message"] == expected


async def test_an_image_that_cannot_be_pulled_is_backed_off(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("pull", container={"image": NOT_LOADED}))
    first = await api.waiting(namespace, "pull", "ErrImagePull")
    assert "failed to pull and unpack image" in state(first)["waiting"]["message"]
    seen = await api.waiting(namespace, "pull", "ImagePullBackOff")
    assert phase(seen) == "Pending"
    assert state(seen)["waiting"]["message"].startswith(f'Back-off pulling image "{NOT_LOADED}"')
    await api.delete(pods(namespace, "pull"))
    await api.gone(pods(namespace, "pull"))


async def test_an_invalid_image_name(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("name", container={"image": "Not::An::Image"}))
    seen = await api.waiting(namespace, "name", "InvalidImageName")
    assert "Not::An::Image" in state(seen)["waiting"]["message"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
    ],
)
async def test_a_missing_reference_is_a_config_error(api: Api, namespace: str, source: dict, message: str) -> None:
    await api.post(pods(namespace), pod("config", container={"env": [{"name": "X", "valueFrom": source}]}))
    seen = await api.waiting(namespace, "config", "CreateContainerConfigError")
    assert state(seen)["waiting"]["message"] == message
    await api.delete(pods(namespace, "config"))
    await api.gone(pods(namespace, "config"))


async def test_a_container_waits_for_its_secret(api: Api, namespace: str) -> None:
    source = {"secretKeyRef": {"name": "later", "key": "k"}}
    body = pod("patient", 'echo "$X"', container={"env": [{"name": "X", "valueFrom": source}]})
    await api.post(pods(namespace), body)
    await api.waiting(namespace, "patient", "CreateContainerConfigError")
    secret = {"metadata": {"name": "later"}, "stringData": {"k": "here"}}
    await api.post(f"/api/v1/namespaces/{namespace}/secrets", secret)
    assert phase(await api.ended(namespace, "patient")) == "Succeeded"
    assert await api.get(pods(namespace, "patient", "log")) == "here\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"secret": {"secretName": "s", "items": [{"key": "none", "path": "x"}]}},
            "references non-existent secret key: none",
        ),
        (
            {"configMap": {"name": "m", "items": [{"key": "none", "path": "x"}]}},
            "configmap references non-existent config key: none",
        ),
    ],
)
async def test_a_failed_mount_names_the_volume_and_what_is_missing(
    api: Api, namespace: str, source: dict, message: str
) -> None:
    await api.post(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": "s"}})
    await api.post(f"/api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "m"}})
    mount = {"name": "files", "mountPath": "/files"}
    body = pod("mounting", volumes=[{"name": "files", **source}], container={"volumeMounts": [mount]})
    await api.post(pods(namespace), body)
    expected = f'MountVolume.SetUp failed for volume "files" : {message}'
    selected = {"involvedObject.name": "mounting", "reason": "FailedMount"}
    await api.until(f"/api/v1/namespaces/{namespace}/events", selected, lambda event: str(event["message"]) == expected)


async def test_a_command_that_does_not_exist_cannot_start(api: Api, namespace: str) -> None:
    await api.post(pods(namespace), pod("nothing", container={"command": ["/no/such/program"]}))
    ended = await api.ended(namespace, "nothing")
    terminated = state(ended)["terminated"]
    assert phase(ended) == "Failed"
    assert (terminated["exitCode"], terminated["reason"]) == (128, "StartError")
    assert '"/no/such/program"' in terminated["message"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"nodeSelector": {"nobody": "has"}}, "1 node(s) didn't match Pod's node affinity/selector"),
        ({"container": {"resources": {"requests": {"cpu": "10k"}}}}, "1 Insufficient cpu"),
        ({"container": {"resources": {"requests": {"memory": "100Ti"}}}}, "1 Insufficient memory"),
    ],
)
async def test_a_pod_that_fits_no_node_is_unschedulable(api: Api, namespace: str, spec: dict, why: str) -> None:
    await api.post(pods(namespace), pod("big", **spec))
    seen = await api.pod_until(namespace, "big", lambda p: "PodScheduled" in conditions(p))
    condition = conditions(seen)["PodScheduled"]
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"].startswith(f"0/1 nodes are available: {why}. ")
    assert phase(seen) == "Pending"
    assert "containerStatuses" not in seen["status"]
    await api.delete(pods(namespace, "big"))
    await api.get(pods(namespace, "big"), expect=404)


async def test_a_pods_steps_are_recorded_as_events(api: Api, namespace: str) -> None:
    selector = "involvedObject.kind=Pod,involvedObject.name=story"
    events = f"/api/v1/namespaces/{namespace}/events"
    version = (await api.get(events))["metadata"]["resourceVersion"]  # without one, a watch begins with any order
    await api.post(pods(namespace), pod("story", FOREVER))
    await api.running(namespace, "story")
    await api.delete(pods(namespace, "story"))
    seen: list[str] = []
    async with api.watch(events, fieldSelector=selector, resourceVersion=version) as stream:
        while "Killing" not in seen:
            event = (await stream.next("the event of the pod's end"))["object"]
            seen.append(event["reason"])
    assert event["involvedObject"]["name"] == "story"
    assert event["message"] == "Stopping container probe"
    assert {"Scheduled", "Pulled", "Created", "Started"} <= set(seen), json.dumps(seen)


async def test_a_readiness_command_decides_when_a_pod_is_ready(api: Api, namespace: str) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test -f /tmp/ready-$NONCE"]}, "periodSeconds": 1}
    container = {
        "readinessProbe": probe,
        "env": [{"name": "NONCE", "value": namespace}],
        "command": ["sh", "-c", f"sleep 2; touch /tmp/ready-$NONCE; {FOREVER}"],
    }
    created = await api.post(pods(namespace), pod("slow", container=container))
    version = created["metadata"]["resourceVersion"]
    seen = await api.pod_until(namespace, "slow", lambda p: "running" in state(p), version)
    assert conditions(seen)["Ready"]["status"] == "False"
    await api.pod_until(namespace, "slow", lambda p: conditions(p)["Ready"]["status"] == "True")
