"""Up, down, and what happens when components are killed or paused."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from testbed import Testbed, cgroups, mounts, network, processes
from testbed.cluster import points_below
from testbed.components import COMPONENTS, named
from tests.harness.wait import until


def pids(testbed: Testbed) -> dict[str, int | None]:
    found = {component.name: processes.find(testbed.instance, component) for component in COMPONENTS}
    return {name: process.pid if process else None for name, process in found.items()}


def runs(process: psutil.Process) -> bool:
    """Whether it is alive. psutil compares start times, so a reused process id is not mistaken for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_up_is_idempotent(cluster: Testbed) -> None:
    before = pids(cluster)
    cluster.up()

    assert pids(cluster) == before
    assert all(fact.ok for fact in cluster.status())


def test_up_starts_what_was_killed_and_keeps_the_clusters_data(cluster: Testbed) -> None:
    cluster.kubectl("create", "configmap", "survivor")
    for name in ("etcd", "apiserver", "containerd", "kubelet"):
        cluster.kill(name)
    assert {fact.name for fact in cluster.status() if not fact.ok} == {
        "etcd",
        "kube-apiserver",
        "containerd",
        "kubelet",
    }

    cluster.up()

    cluster.kubectl("delete", "configmap", "survivor")


@pytest.mark.parametrize("end", [Testbed.kill, Testbed.stop])
def test_a_stopped_component_can_be_started_again(cluster: Testbed, end: Callable[[Testbed, str], None]) -> None:
    before = pids(cluster)["kube-scheduler"]
    end(cluster, "scheduler")
    assert pids(cluster)["kube-scheduler"] is None

    cluster.start("scheduler")

    assert pids(cluster)["kube-scheduler"] not in {None, before}


def test_a_paused_component_is_reported_and_can_be_resumed(cluster: Testbed) -> None:
    cluster.up()  # previous tests may have stopped components
    process = processes.find(cluster.instance, named("controller-manager"))
    assert process is not None
    cluster.pause("controller-manager")
    until("the controller manager is paused", lambda: process.state() == "T")
    assert [fact.name for fact in cluster.status() if not fact.ok] == ["kube-controller-manager"]

    cluster.resume("controller-manager")

    until("the controller manager runs again", lambda: process.state() != "T")


def test_down_ends_processes_that_a_killed_test_had_started(cluster: Testbed) -> None:
    sleeper = ["sh", "-c", "sleep 1000 & echo $!; wait"]
    with subprocess.Popen(cluster.inside(sleeper), stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        child = psutil.Process(int(started.stdout.readline()))
        started.kill()  # its child is an orphan now
        started.wait()
        assert child.is_running()

        cluster.down()

    until("the child has ended", lambda: not runs(child))  # it has left its cgroup shortly before


def test_down_leaves_no_process_mount_cgroup_or_namespace(cluster: Testbed) -> None:
    instance = cluster.instance
    pids = cgroups.processes(instance)
    before = [process for process in psutil.process_iter() if process.pid in pids]
    assert before

    cluster.down()

    assert cgroups.processes(instance) == set()
    until("all processes have ended", lambda: not [process for process in before if runs(process)])
    assert mounts.below(instance.state, instance.run) == []
    assert list(cgroups.MOUNT.glob(f"**/{instance.cgroup}")) == []
    assert not network.exists(instance)
    assert not instance.run.exists()
    assert [link for link in Path("/var/log/containers").glob("*") if points_below(link, instance.state)] == []
