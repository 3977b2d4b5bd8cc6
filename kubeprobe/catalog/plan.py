"""What an apply would change: items, load, next times, warnings. Next: `apply` writes it."""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import Field
from sqlalchemy import select
from sqlmodel import Session, col

from kubeprobe.catalog.changes import Action, ItemChange
from kubeprobe.catalog.comparison import CHANGES, ApplyRequest, compare_with_store
from kubeprobe.catalog.connections import Connector
from kubeprobe.catalog.forecast import ClusterFacts, ForecastInput, Timetable, runs_per_hour, timetables, warnings
from kubeprobe.catalog.model import BindingSpec, ClusterSpec, ProbeCaseSpec, RenderConfigSpec, Spec
from kubeprobe.catalog.ownership import BY_HAND, Author
from kubeprobe.catalog.parse import Declaration
from kubeprobe.catalog.policy import DEFAULT_POLICY, TemplatePolicy
from kubeprobe.catalog.schedules import check_number
from kubeprobe.catalog.snapshot import load_catalog, paused_by_hand
from kubeprobe.jsonmodel import JsonModel
from kubeprobe.store import Cluster, Node

SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class ClusterLoad(JsonModel):
    """Periodic runs per hour on a cluster, before and after; None: the cluster does not exist then."""

    cluster: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Plan(JsonModel):
    """What an apply would change."""

    items: tuple[ItemChange, ...]
    loads: Annotated[tuple[ClusterLoad, ...], Field(serialization_alias="runsPerHour")]
    timetables: tuple[Timetable, ...]
    warnings: tuple[str, ...]
    version: int
    """Version of the catalog that the declaration was compared with."""

    @property
    def changes_anything(self) -> bool:
        """Whether an apply would add, change or remove an entry."""
        return any(item.action in CHANGES for item in self.items)

    def count(self, action: Action) -> int:
        """How many items have this action."""
        return sum(item.action == action for item in self.items)


def make_plan(  # noqa: PLR0913 - those of `apply`
    session: Session,
    declaration: Declaration,
    connector: Connector,
    now: datetime,
    *,
    prune: bool = False,
    author: Author = BY_HAND,
    policy: TemplatePolicy = DEFAULT_POLICY,
) -> Plan:
    """Compare a declaration with the store. Writes nothing. Raises CatalogError where `apply` would."""
    found = compare_with_store(session, ApplyRequest(declaration, connector, author, policy, prune))
    catalog = load_catalog(session)
    before = ForecastInput(catalog.bindings, catalog.cases, catalog.render_configs, _clusters(session))
    removed = {(item.kind, item.name) for item in found.with_action(Action.REMOVED)}
    replaced = removed | declaration.entries.keys()
    unreadable = {key: entry for key, entry in catalog.unreadable.items() if key not in replaced}
    bound = (entry.texts("cases") for (kind, _), entry in unreadable.items() if kind == "Binding")
    after = _after_apply(before, declaration, removed, paused_by_hand(session))
    after = replace(after, bound_elsewhere=frozenset().union(*bound))
    check_number(session, after.bindings, [(facts.name, facts.labels) for facts in after.clusters])
    return Plan(
        items=found.items,
        loads=_loads(runs_per_hour(before, now), runs_per_hour(after, now)),
        timetables=tuple(timetables(after, now)),
        warnings=(*(entry.message for entry in unreadable.values()), *warnings(after, now)),
        version=catalog.version,
    )


def _after_apply(
    before: ForecastInput, declaration: Declaration, removed: AbstractSet[tuple[str, str]], paused: AbstractSet[str]
) -> ForecastInput:
    """The catalog once the declaration is applied. Bindings that are `paused` by hand stay so."""

    def merged(kind: str, model: type[SpecT], old: Mapping[str, SpecT]) -> dict[str, SpecT]:
        kept = {name: spec for name, spec in old.items() if (kind, name) not in removed}
        return kept | declaration.specs(kind, model)

    clusters = {facts.name: facts for facts in before.clusters if ("Cluster", facts.name) not in removed}
    for name, spec in declaration.specs("Cluster", ClusterSpec).items():
        nodes = clusters[name].nodes if name in clusters else None
        clusters[name] = ClusterFacts(name, spec.labels, spec.pool, spec.limits.pods, nodes)
    return ForecastInput(
        bindings={
            name: binding.model_copy(update={"paused": True}) if name in paused else binding
            for name, binding in merged("Binding", BindingSpec, before.bindings).items()
        },
        cases=merged("ProbeCase", ProbeCaseSpec, before.cases),
        render_configs=merged("RenderConfig", RenderConfigSpec, before.render_configs),
        clusters=list(clusters.values()),
    )


def _clusters(session: Session) -> list[ClusterFacts]:
    nodes: dict[str, list[tuple[Mapping[str, str], bool]]] = defaultdict(list)
    for cluster, labels, unschedulable in session.execute(
        select(col(Node.cluster), col(Node.labels), col(Node.unschedulable))
    ):
        nodes[cluster].append((labels, unschedulable))
    columns = (
        col(Cluster.name),
        col(Cluster.labels),
        col(Cluster.pool),
        col(Cluster.max_in_flight),
        col(Cluster.nodes_listed_at).is_not(None),
    )
    return [
        ClusterFacts(name, labels, pool, max_in_flight, tuple(nodes[name]) if are_known else None)
        for name, labels, pool, max_in_flight, are_known in session.execute(
            select(*columns).order_by(col(Cluster.name))
        )
    ]


def _loads(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[ClusterLoad, ...]:
    return tuple(ClusterLoad(name, before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys()))
