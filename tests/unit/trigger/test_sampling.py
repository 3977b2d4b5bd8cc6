"""Samples of nodes have their size, and take every node within one round while nodes join and leave."""

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.trigger.sampling import next_sample

NAMES = st.sets(st.integers(0, 200).map("node-{}".format), min_size=1, max_size=40)
CURSORS = st.integers(0, 2**64 - 1).map("{:016x}".format) | st.just("")


@given(NAMES, st.integers(1, 50), CURSORS)
def test_a_sample_has_its_size_and_no_node_twice(nodes: set[str], size: int, cursor: str) -> None:
    taken, _ = next_sample(nodes, "case", cursor, size)
    assert len(taken) == len(set(taken)) == min(size, len(nodes))
    assert set(taken) <= nodes


@given(NAMES, st.integers(1, 50), CURSORS)
def test_every_node_is_taken_within_one_round(nodes: set[str], size: int, cursor: str) -> None:
    seen: set[str] = set()
    for _ in range(ceil(len(nodes) / size)):
        taken, cursor = next_sample(nodes, "case", cursor, size)
        seen.update(taken)
    assert seen == nodes


@given(NAMES, st.integers(1, 5), st.data())
def test_a_node_that_stays_is_taken_while_others_join_and_leave(
    nodes: set[str], size: int, data: st.DataObject
) -> None:
    """Within the number of slots of one round over all nodes that ever existed."""
    staying = data.draw(st.sampled_from(sorted(nodes)))
    cursor, ever, rounds = data.draw(CURSORS), {staying}, 0
    while True:
        present = {staying} | data.draw(st.sets(st.sampled_from(sorted(nodes))))
        ever |= present
        rounds += 1
        taken, cursor = next_sample(present, "case", cursor, size)
        if staying in taken:
            return
        assert rounds < ceil(len(nodes) / size)


@given(NAMES, st.integers(1, 5))
def test_the_same_names_give_the_same_samples_in_any_order(nodes: set[str], size: int) -> None:
    assert next_sample(sorted(nodes), "case", "", size) == next_sample(sorted(nodes, reverse=True), "case", "", size)


def test_cases_start_at_different_nodes() -> None:
    nodes = [f"node-{number}" for number in range(100)]
    first = {next_sample(nodes, f"case-{number}", "", 1)[0][0] for number in range(20)}
    assert len(first) > 10


def test_without_nodes_the_cursor_is_kept() -> None:
    assert next_sample([], "case", "00ff", 3) == ([], "00ff")
