"""The subject of a verdict, and its conversion from columns."""

import pytest

from kubeprobe.runs import slot_of
from kubeprobe.store import subject_of_outcome, subject_of_run
from kubeprobe.vocabulary import SOME_NODE, Subject

CLUSTER = Subject("prod-1")
NODE = Subject("prod-1", "node-7")
NODES = Subject.of_nodes("prod-1")


@pytest.mark.parametrize(
    ("subject", "text", "node", "is_node_level"),
    [
        (CLUSTER, "prod-1", None, False),
        (NODE, "prod-1/node-7", "node-7", True),
        (NODES, "the nodes of prod-1", None, True),
    ],
)
def test_a_subject_is_a_cluster_a_node_or_the_nodes_as_a_whole(
    subject: Subject,
    text: str,
    node: str | None,
    is_node_level: bool,  # noqa: FBT001
) -> None:
    assert (str(subject), subject.node, subject.is_node_level) == (text, node, is_node_level)


@pytest.mark.parametrize("subject", [CLUSTER, NODE, NODES])
def test_the_subject_of_an_outcome_is_restored_from_its_columns(subject: Subject) -> None:
    assert subject_of_outcome(subject.cluster, subject.node, node_level=subject.is_node_level) == subject


def test_the_node_that_a_cluster_probe_ran_on_is_not_its_subject() -> None:
    assert subject_of_outcome("prod-1", "node-7", node_level=False) == CLUSTER


def test_a_run_is_about_the_node_it_is_pinned_to() -> None:
    assert subject_of_run("prod-1", "node-7") == NODE
    assert subject_of_run("prod-1", None) == CLUSTER


@pytest.mark.parametrize(("subject", "slot"), [(CLUSTER, "a/prod-1"), (NODE, "a/prod-1/node-7"), (NODES, "a/prod-1")])
def test_a_slot_names_the_cluster_and_the_node(subject: Subject, slot: str) -> None:
    assert slot_of("a", subject) == slot


def test_some_node_means_the_nodes_as_a_whole() -> None:
    assert Subject("prod-1", SOME_NODE) == NODES
