"""Runs grouped by cluster: one message carries the runs that are due together on a cluster."""

from kubeprobe.queue import RunBatch, launch_queue, run_batches
from kubeprobe.runs import OpenedRun
from kubeprobe.vocabulary import Subject


def opened(run_id: str, cluster: str = "prod-1", pool: str = "default", case: str = "a") -> OpenedRun:
    return OpenedRun(run_id, f"slot-{run_id}", Subject(cluster), pool, case)


def test_runs_are_grouped_by_cluster_and_pool() -> None:
    runs = [opened("r1"), opened("r2", "prod-2"), opened("r3", case="b"), opened("r4", pool="far")]
    assert run_batches(runs, 50) == [
        RunBatch("default", "prod-1", ("r1", "r3"), ("a", "b")),
        RunBatch("default", "prod-2", ("r2",), ("a",)),
        RunBatch("far", "prod-1", ("r4",), ("a",)),
    ]


def test_a_message_carries_at_most_one_batch() -> None:
    batches = run_batches([opened(f"r{i}") for i in range(120)], 50)
    assert [len(batch.run_ids) for batch in batches] == [50, 50, 20]
    assert [run_id for batch in batches for run_id in batch.run_ids] == [f"r{i}" for i in range(120)]


def test_no_runs_give_no_batches() -> None:
    assert run_batches([], 50) == []


def test_clusters_share_the_queue_of_their_pool() -> None:
    assert launch_queue("eu") == "launch.eu"
