"""Which nodes a slot is for: the nodes in the store, those that the binding selects, and the next sample of them.

Before it: `execution.collect` writes the rows of nodes. Next: `runs.open_runs` opens a run for each node.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from sqlalchemy import select
from sqlmodel import Session, col

from kubeprobe.catalog.model import BindingSpec, NodeChoice
from kubeprobe.fleet.selectors import Selector
from kubeprobe.store import Cluster, Node
from kubeprobe.trigger.sampling import next_sample, ring_position
from kubeprobe.vocabulary import Reason, Subject


@dataclass(frozen=True, slots=True)
class KnownNode:
    """The columns of a node that triggers need."""

    name: str
    labels: Mapping[str, str]
    unschedulable: bool


@dataclass(frozen=True)
class Sample:
    """The nodes of one slot, and the cursor for the next slot."""

    nodes: list[str]
    cursor: str
    problem: str = ""
    """Why no nodes can be chosen; otherwise empty."""


@dataclass(frozen=True)
class KnownNodes:
    """The nodes of some clusters, from the store."""

    by_cluster: Mapping[str, list[KnownNode]]
    unknown: Mapping[str, str]
    """Clusters whose nodes are not known, with the reason."""
    _matching: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, session: Session, clusters: Collection[str]) -> Self:
        """One statement, none without clusters. Collectors keep the rows up to date."""
        nodes: dict[str, list[KnownNode]] = defaultdict(list)
        unknown: dict[str, str] = {}
        for cluster, watches, listed_at, error, *node in session.execute(_nodes_of(clusters)) if clusters else ():
            if listed_at is None:
                reason = error or (
                    "no collector has listed them yet" if watches else "no binding with `nodes` matches the cluster"
                )
                unknown[cluster] = f"The nodes of {cluster} are not known: {reason}"
            elif node[0] is not None:
                nodes[cluster].append(KnownNode(*node))
        return cls(nodes, unknown)

    def sample(self, cluster: str, choice: NodeChoice, case: str, cursor: str) -> Sample:
        """The nodes of a slot of a case on a cluster."""
        if problem := self.unknown.get(cluster):
            return Sample([], cursor, problem)
        names = self._names(cluster, choice)
        if choice.size is None:
            return Sample(names, cursor)
        return Sample(*next_sample(names, case, cursor, choice.size))

    def matching(self, cluster: str, selector: Selector) -> list[str]:
        """The names of a cluster's nodes that match a selector, including cordoned ones."""
        return sorted(node.name for node in self.by_cluster.get(cluster, ()) if selector.matches(node.labels))

    def names(self, cluster: str) -> list[str]:
        """The names of all nodes of a cluster."""
        return sorted(node.name for node in self.by_cluster.get(cluster, ()))

    def includes(self, cluster: str, choice: NodeChoice, name: str) -> bool:
        """Whether a node matches a choice. A cordoned one does too: the request names it."""
        return any(n.name == name and choice.selector.matches(n.labels) for n in self.by_cluster.get(cluster, ()))

    def _names(self, cluster: str, choice: NodeChoice) -> list[str]:
        key = (cluster, str(choice.selector), choice.cordoned)
        if key not in self._matching:
            nodes = self.by_cluster.get(cluster, ())
            chosen = (n.name for n in nodes if choice.matches(n.labels, cordoned=n.unschedulable))
            self._matching[key] = sorted(chosen)
        return self._matching[key]


@dataclass(frozen=True, slots=True)
class RunSubject:
    """The subject of a run to open; with a `reason`, the run cannot take place."""

    subject: Subject
    reason: Reason | None = None
    message: str = ""


def run_subjects(
    nodes: KnownNodes, binding: BindingSpec, cluster: str, case: str, *, start: str, only: str | None = None
) -> list[RunSubject]:
    """The subjects of a binding's case for a change or a request on a cluster: the cluster itself, or nodes.

    `start` is hashed to the start of a sample, so that samples differ; with `only`, just this node.
    """
    if binding.nodes is None:
        return [RunSubject(Subject(cluster))]
    sample = nodes.sample(cluster, binding.nodes, case, ring_position(case, start))
    if sample.problem and only is None:
        return [RunSubject(Subject.of_nodes(cluster), Reason.NO_NODES, sample.problem)]
    if only is not None:
        chosen = [only] if sample.problem or nodes.includes(cluster, binding.nodes, only) else []
        return [RunSubject(Subject(cluster, node)) for node in chosen]
    return [RunSubject(Subject(cluster, node)) for node in sample.nodes]


@lru_cache(maxsize=1024)
def parse_choice(stored: str) -> NodeChoice:
    """A binding's `nodes` from the column of its schedules; many schedules have the same."""
    return NodeChoice.model_validate_json(stored)


def _nodes_of(clusters: Iterable[str]) -> Any:
    return (
        select(
            col(Cluster.name),
            col(Cluster.watches_nodes),
            col(Cluster.nodes_listed_at),
            col(Cluster.nodes_error),
            col(Node.name),
            col(Node.labels),
            col(Node.unschedulable),
        )
        .join(Node, col(Node.cluster) == col(Cluster.name), isouter=True)
        .where(col(Cluster.name).in_(sorted(clusters)))
    )
