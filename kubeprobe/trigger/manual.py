"""Manual runs: a person, a script or another system requests a case on clusters, now.

Next: the caller commits and wakes launchers for the opened runs; it may wait for the outcomes by reading the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session
from ulid import ULID

from kubeprobe.catalog import Catalog, check_parameters
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.labels import node_problem
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.names import nearest
from kubeprobe.runs import OpenedRun, Opening, check_id, open_runs, slot_of
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster
from kubeprobe.trigger.nodes import KnownNodes, RunSubject, run_subjects
from kubeprobe.vocabulary import Subject, Trigger


@dataclass(frozen=True)
class RunRequest:
    """A case, on clusters by name or by label selector (both: their union).

    With `nodes` (of one cluster) or `nodes_selector` it runs once on each of these nodes. Otherwise its bindings
    decide: if all of them have `nodes`, it runs on these nodes or a sample of them, else once on the cluster.
    `id` is an idempotency key: a repeated id opens no new runs.
    """

    case: str
    clusters: tuple[str, ...] = ()
    selector: str = ""
    parameters: Mapping[str, str] | None = None
    id: str = ""
    nodes: tuple[str, ...] = ()
    nodes_selector: str = ""


def request_runs(
    session: Session, catalog: Catalog, request: RunRequest, now: datetime, settings: Settings
) -> list[OpenedRun]:
    """Open one run for each requested cluster or node.

    Raises NotFoundError for an unknown case, cluster or node, InvalidInputError for a cordoned cluster, an invalid id,
    nodes that are not known, or when no run is requested, and CatalogUnreadableError for an unreadable case, or where
    an unreadable binding decides whether it runs on nodes.
    """
    catalog.check_readable("ProbeCase", request.case)
    if request.case not in catalog.cases:
        raise NotFoundError(f"There is no case {request.case!r}.{nearest(request.case, catalog.cases)}")
    check_id(request.id, "a request")
    chosen = _clusters(session, request)
    identity = request.id or str(ULID.from_datetime(now)).lower()
    parameters = check_parameters(request.parameters) if request.parameters else None
    has_nodes = bool(request.nodes or request.nodes_selector)
    nodes = KnownNodes.read(session, [c.name for c in chosen if c.watches_nodes or has_nodes])
    subjects = _Subjects(catalog, request, nodes, start=identity)
    openings = [
        Opening(
            slot=slot_of("manual", identity, request.case, found.subject),
            trigger=Trigger.MANUAL,
            case=request.case,
            subject=found.subject,
            pool=cluster.pool,
            due_at=now,
            case_commit=catalog.commits.get(request.case),
            parameters=parameters,
            reason=found.reason,
            message=found.message,
        )
        for cluster in chosen
        for found in subjects.on(cluster)
    ]
    if not any(opening.reason is None for opening in openings):
        names = ", ".join(cluster.name for cluster in chosen)
        raise InvalidInputError(next((o.message for o in openings), f"No node of {names} matches the case's bindings."))
    return open_runs(session, openings, now, settings)


@dataclass(frozen=True)
class _Subjects:
    """The subjects of a request."""

    catalog: Catalog
    request: RunRequest
    nodes: KnownNodes
    start: str

    def on(self, cluster: Cluster) -> list[RunSubject]:
        """The cluster itself, or nodes of it."""
        if self.request.nodes:
            return [RunSubject(Subject(cluster.name, node)) for node in self._named(cluster.name)]
        if self.request.nodes_selector:
            return [RunSubject(Subject(cluster.name, node)) for node in self._selected(cluster.name)]
        return self._bound(cluster)

    def _named(self, cluster: str) -> Sequence[str]:
        if (self.request.clusters, self.request.selector) != ((cluster,), ""):
            raise InvalidInputError("Nodes belong to one cluster: name exactly one (--cluster).")
        known = None if cluster in self.nodes.unknown else self.nodes.names(cluster)
        for name in self.request.nodes:
            if problem := node_problem(name):
                raise InvalidInputError(f"node: {problem}")
            if known is not None and name not in known:
                raise NotFoundError(f"Cluster {cluster} has no node {name!r}.{nearest(name, known)}")
        return list(dict.fromkeys(self.request.nodes))

    def _selected(self, cluster: str) -> list[str]:
        if problem := self.nodes.unknown.get(cluster):
            raise InvalidInputError(f"{problem}. Name the nodes (--node) instead.")
        found = self.nodes.matching(cluster, parse_selector(self.request.nodes_selector))
        if not found:
            raise NotFoundError(f"No node of {cluster} matches {self.request.nodes_selector!r}.")
        return found

    def _bound(self, cluster: Cluster) -> list[RunSubject]:
        case = self.request.case
        bindings = [
            binding
            for binding in self.catalog.bindings.values()
            if case in binding.cases and binding.clusters.matches(cluster.name, cluster.labels)
        ]
        if not bindings:
            for name, entry in self.catalog.unreadable_of("Binding").items():
                if case in entry.texts("cases") and not entry.lacks("nodes"):
                    self.catalog.check_readable("Binding", name)
        if not bindings or any(binding.nodes is None for binding in bindings):
            return [RunSubject(Subject(cluster.name))]
        found = [s for b in bindings for s in run_subjects(self.nodes, b, cluster.name, case, start=self.start)]
        return list({one.subject: one for one in found}.values())


def _clusters(session: Session, request: RunRequest) -> Sequence[Cluster]:
    named = [clusters.get(session, name) for name in request.clusters]
    if cordoned := [c.name for c in named if c.cordoned_at is not None]:
        raise InvalidInputError(
            f"Cordoned, so no case runs there: {', '.join(cordoned)}. End it with `kubeprobe cluster uncordon`."
        )
    if not request.selector:
        if not named:
            raise InvalidInputError("No cluster is given. Give names (--cluster) or a label selector (--selector).")
        return named
    selector = parse_selector(request.selector)
    matching = [c for c in clusters.find(session, selector) if c.cordoned_at is None]
    if not matching and not named:
        raise NotFoundError(f"No cluster matches {request.selector!r}; cordoned ones are left out.")
    by_name = {c.name: c for c in [*named, *matching]}
    return list(by_name.values())
