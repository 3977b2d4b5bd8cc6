"""Runs grouped into wakes: one message carries what is due together on a cluster."""

from kubeprobe.queue import RunBatch, launch_queue, run_batches
from kubeprobe.runs import OpenedRun
from kubeprobe.vocabulary import Subject


def opened(run_id: str, cluster: str = "prod-1", pool: str = "default", case: str = "a") -> OpenedRun:
    return OpenedRun(run_id, f"slot-{run_id}", Subject(cluster), pool, case)


def test_runs_of_one_cluster_go_together_and_those_of_others_do_not() -> None:
    runs = [opened("r1"), opened("r2", "prod-2"), opened("r3", case="b"), opened("r4", pool="far")]
    assert run_batches(runs, 50) == [
        RunBatch("default", "prod-1", ("r1", "r3"), ("a", "b")),
        RunBatch("default", "prod-2", ("r2",), ("a",)),
        RunBatch("far", "prod-1", ("r4",), ("a",)),
    ]


def test_a_wake_carries_no_more_than_a_batch() -> None:
    wakes = run_batches([opened(f"r{i}") for i in range(120)], 50)
    assert [len(wake.run_ids) for wake in wakes] == [50, 50, 20]
    assert [run_id for wake in wakes for run_id in wake.run_ids] == [f"r{i}" for i in range(120)]


def test_nothing_to_launch_wakes_nobody() -> None:
    assert run_batches([], 50) == []


def test_clusters_share_the_queue_of_their_pool() -> None:
    assert launch_queue("eu") == "launch.eu"
