"""A cluster is swept once in every interval, at its own moment, and soon after a probe was killed."""

from datetime import UTC, datetime, timedelta

from kubeprobe.execution.collect.sweeper import SOON, is_due, is_due_after_kill

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EVERY = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


def moments(cluster: str, seconds: int) -> list[int]:
    """The seconds from NOW at which a cluster is swept."""
    found, since = [], NOW
    for passed in range(1, seconds + 1):
        now = NOW + passed * SECOND
        if is_due(cluster, since, now, EVERY):
            found.append(passed)
            since = now
    return found


def test_a_cluster_is_swept_once_in_every_interval() -> None:
    first, second, third = moments("prod-1", 900)
    assert second - first == third - second == 300


def test_sweeps_of_a_fleet_are_spread_over_the_interval() -> None:
    firsts = [moments(f"prod-{number}", 300)[0] for number in range(200)]
    assert max(firsts.count(moment) for moment in firsts) < 8
    assert min(firsts) < 30
    assert max(firsts) > 270


def test_after_a_killed_probe_a_cluster_is_swept_once() -> None:
    assert not is_due_after_kill(None, NOW, NOW + SOON)
    assert not is_due_after_kill(NOW, NOW - EVERY, NOW + SOON - SECOND)
    assert is_due_after_kill(NOW, NOW - EVERY, NOW + SOON)
    assert is_due_after_kill(NOW, NOW + SECOND, NOW + SOON)  # swept in between, too early
    assert not is_due_after_kill(NOW, NOW + SOON, NOW + SOON + SECOND)
