"""Which nodes a slot is for: what collectors know of them, the binding's choice, and whose turn it is.

Before it: `execution.collect` keeps the rows. Next: `runs.open_runs` opens a run for each node.
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
from kubeprobe.trigger.rotation import next_sample, place_of
from kubeprobe.vocabulary import Reason, Subject


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as triggers see it."""

    name: str
    labels: Mapping[str, str]
    unschedulable: bool


@dataclass(frozen=True)
class Sample:
    """The nodes of one slot, and the cursor for the next. `unknown` says why none can be chosen; else it is empty."""

    nodes: list[str]
    cursor: str
    unknown: str = ""


@dataclass(frozen=True)
class KnownNodes:
    """The nodes of some clusters, as the store has them."""

    by_cluster: Mapping[str, list[KnownNode]]
    unknown: Mapping[str, str]
    """Clusters of whose nodes nothing is known, and why so."""
    _matching: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, session: Session, clusters: Collection[str]) -> Self:
        """One statement, none where there are no clusters: what triggers know comes from a collector's cache."""
        nodes: dict[str, list[KnownNode]] = defaultdict(list)
        unknown: dict[str, str] = {}
        for cluster, watches, listed_at, error, *node in session.execute(_nodes_of(clusters)) if clusters else ():
            if listed_at is None:
                why = error or (
                    "no collector has listed them yet" if watches else "no binding with `nodes` matches the cluster"
                )
                unknown[cluster] = f"The nodes of {cluster} are not known: {why}"
            elif node[0] is not None:
                nodes[cluster].append(KnownNode(*node))
        return cls(nodes, unknown)

    def sample(self, cluster: str, choice: NodeChoice, case: str, cursor: str) -> Sample:
        """The nodes of a slot of a case on a cluster."""
        if why := self.unknown.get(cluster):
            return Sample([], cursor, why)
        names = self._names(cluster, choice)
        if choice.size is None:
            return Sample(names, cursor)
        return Sample(*next_sample(names, case, cursor, choice.size))

    def matching(self, cluster: str, selector: Selector) -> list[str]:
        """The names of a cluster's nodes that a selector chooses, cordoned ones among them."""
        return sorted(node.name for node in self.by_cluster.get(cluster, ()) if selector.matches(node.labels))

    def names(self, cluster: str) -> list[str]:
        """The names of all nodes of a cluster."""
        return sorted(node.name for node in self.by_cluster.get(cluster, ()))

    def may_be(self, cluster: str, choice: NodeChoice, name: str) -> bool:
        """Whether a node is among those of a choice, cordoned or not: whoever names it wants to know."""
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
    """What a run is to be about; with a `reason`, why it cannot run."""

    subject: Subject
    reason: Reason | None = None
    message: str = ""


def run_subjects(
    nodes: KnownNodes, binding: BindingSpec, cluster: str, case: str, *, start: str, only: str | None = None
) -> list[RunSubject]:
    """On what a change or a request has a binding's case run on a cluster: on the cluster itself, or on nodes.

    `start` says where on the ring a sample begins, so that each has others; `only` leaves no node but this one.
    """
    if binding.nodes is None:
        return [RunSubject(Subject(cluster))]
    sample = nodes.sample(cluster, binding.nodes, case, place_of(case, start))
    if sample.unknown and only is None:
        return [RunSubject(Subject.of_nodes(cluster), Reason.NO_NODES, sample.unknown)]
    if only is not None:
        chosen = [only] if sample.unknown or nodes.may_be(cluster, binding.nodes, only) else []
        return [RunSubject(Subject(cluster, node)) for node in chosen]
    return [RunSubject(Subject(cluster, node)) for node in sample.nodes]


@lru_cache(maxsize=1024)
def read_choice(stored: str) -> NodeChoice:
    """A binding's `nodes` as its schedules hold it; many share one."""
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
