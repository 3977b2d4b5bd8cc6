"""The current catalog: a frozen copy that a process works with, reloaded when its version changes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    case,
    cast,
    literal_column,
    null,
    select,
    union_all,
)
from sqlmodel import Session, SQLModel, col

from kubeprobe.catalog.model import (
    AlertRouteSpec,
    BindingSpec,
    ProbeCaseSpec,
    ProbeTemplateSpec,
    RenderConfigSpec,
    RouteTarget,
    Spec,
)
from kubeprobe.errors import KubeProbeError, NotFoundError
from kubeprobe.names import nearest
from kubeprobe.store import AlertRoute, Binding, CatalogVersion, ProbeCase, ProbeTemplate, RenderConfig
from kubeprobe.store.types import JSONColumn

log = structlog.get_logger(__name__)

SpecT = TypeVar("SpecT", bound=Spec)
_NONE: ColumnElement[int] = literal_column("0")
_NOTHING: ColumnElement[Any] = cast(null(), String)


class CatalogNotFoundError(NotFoundError):
    """A name that is not in the catalog, or no longer: entries can be removed while a run is open."""


class CatalogUnreadableError(KubeProbeError):
    """A stored spec that another version of KubeProbe wrote and that is invalid in this one."""


@dataclass(frozen=True)
class Catalog:
    """All entries but clusters, by name. A binding that is paused by hand has `paused` set here."""

    version: int = 0
    templates: Mapping[str, ProbeTemplateSpec] = field(default_factory=dict)
    cases: Mapping[str, ProbeCaseSpec] = field(default_factory=dict)
    render_configs: Mapping[str, RenderConfigSpec] = field(default_factory=dict)
    bindings: Mapping[str, BindingSpec] = field(default_factory=dict)
    routes: Mapping[str, AlertRouteSpec] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)
    """Origin of each case as SOURCE@COMMIT, except cases that were applied by hand."""
    template_sources: Mapping[str, str] = field(default_factory=dict)
    """The source of each template, except those that were applied by hand."""
    blueprints: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Cache of `render`, valid as long as this copy."""

    def case(self, name: str) -> ProbeCaseSpec:
        """The case of this name; raises CatalogNotFoundError."""
        return _find(self.cases, "ProbeCase", name)

    def template(self, name: str) -> ProbeTemplateSpec:
        """The template of this name; raises CatalogNotFoundError."""
        return _find(self.templates, "ProbeTemplate", name)

    def binding(self, name: str) -> BindingSpec:
        """The binding of this name; raises CatalogNotFoundError."""
        return _find(self.bindings, "Binding", name)

    def bindings_on_change(self, component: str) -> Iterator[tuple[str, BindingSpec]]:
        """The bindings that run when this component changes, without paused ones."""
        for name, binding in self.bindings.items():
            change = binding.on.change
            if change is not None and change.component == component and not binding.paused:
                yield name, binding

    def render_config(self, case: str, binding: str | None) -> RenderConfigSpec | None:
        """The render config of a run: the binding's; else the case's only one, or the one named like the case."""
        bound = self.bindings.get(binding) if binding else None
        named = bound.render_config if bound else None
        if named is not None and (found := self.render_configs.get(named)) is not None and found.for_ == case:
            return found
        candidates = {name: config for name, config in self.render_configs.items() if config.for_ == case}
        if len(candidates) == 1:
            return next(iter(candidates.values()))
        return candidates.get(case)


def _find(entries: Mapping[str, SpecT], kind: str, name: str) -> SpecT:
    try:
        return entries[name]
    except KeyError:
        raise CatalogNotFoundError(f"there is no {kind} {name!r} in the catalog.{nearest(name, entries)}") from None


def catalog_version(session: Session) -> int:
    """The number of changes of the catalog so far; 0 before the first apply."""
    return session.execute(select(col(CatalogVersion.version)).where(col(CatalogVersion.id) == 1)).scalar() or 0


def paused_by_hand(session: Session) -> frozenset[str]:
    """The bindings that were paused with `kubeprobe pause`."""
    return frozenset(session.execute(select(col(Binding.name)).where(col(Binding.paused_at).is_not(None))).scalars())


def load_catalog(session: Session) -> Catalog:
    """Load the catalog in one statement, so that the copy is consistent."""
    version, specs, by_hand, commits = 0, defaultdict[str, dict[str, Any]](dict), set[str](), dict[str, str]()
    template_sources: dict[str, str] = {}
    for kind, name, spec, number, commit in session.execute(_EVERYTHING):
        if kind == CatalogVersion.__name__:
            version = number
            continue
        specs[kind][name] = spec
        if kind == Binding.__name__ and number:
            by_hand.add(name)
        if commit:
            (template_sources if kind == ProbeTemplate.__name__ else commits)[name] = commit
    bindings = {
        name: spec.model_copy(update={"paused": True}) if name in by_hand else spec
        for name, spec in _read_all(specs, Binding, BindingSpec).items()
    }
    return Catalog(
        version=version,
        templates=_read_all(specs, ProbeTemplate, ProbeTemplateSpec),
        cases=_read_all(specs, ProbeCase, ProbeCaseSpec),
        render_configs=_read_all(specs, RenderConfig, RenderConfigSpec),
        bindings=bindings,
        routes=_read_routes(specs[AlertRoute.__name__]),
        commits=commits,
        template_sources=template_sources,
    )


def case_commit() -> ColumnElement[str | None]:
    """The origin of a ProbeCase row as SOURCE@COMMIT; NULL if it was applied by hand."""
    return col(ProbeCase.source) + "@" + col(ProbeCase.commit_id)


def _select_specs(
    table: type[SQLModel], number: ColumnElement[int] = _NONE, commit: ColumnElement[Any] = _NOTHING
) -> Select[Any]:
    columns = table.__table__.c  # type: ignore[attr-defined]  # SQLModel declares no type for it
    return select(literal_column(f"'{table.__name__}'").label("kind"), columns.name, columns.spec, number, commit)


_EVERYTHING: CompoundSelect[Any] = union_all(
    _select_specs(ProbeTemplate, commit=ProbeTemplate.__table__.c.source),  # type: ignore[attr-defined]
    *(_select_specs(table) for table in (RenderConfig, AlertRoute)),
    _select_specs(ProbeCase, commit=case_commit()),
    _select_specs(Binding, case((col(Binding.paused_at).is_not(None), literal_column("1")), else_=literal_column("0"))),
    select(
        literal_column(f"'{CatalogVersion.__name__}'"),
        literal_column("''"),
        cast(null(), JSONColumn),
        col(CatalogVersion.version),
        _NOTHING,
    ).where(col(CatalogVersion.id) == 1),
)
"""(kind, name, spec, number, commit) of every entry, and of the catalog's version.

The number is 1 for a binding that is paused by hand, and the version itself; only cases have a commit. For a template
it is its source.
"""


def _read_all(specs: Mapping[str, Mapping[str, Any]], table: type[SQLModel], model: type[SpecT]) -> dict[str, SpecT]:
    return {name: _read(table, model, name, spec) for name, spec in sorted(specs[table.__name__].items())}


def _read_routes(specs: Mapping[str, dict[str, Any]]) -> dict[str, AlertRouteSpec]:
    """Routes, without the targets that are invalid in this version: they must not stop the notification of others."""
    found: dict[str, AlertRouteSpec] = {}
    for name, spec in sorted(specs.items()):
        try:
            found[name] = _read(AlertRoute, AlertRouteSpec, name, spec)
        except CatalogUnreadableError as error:
            log.error("route or target ignored", error=str(error))
            valid = [target for target in spec.get("targets", ()) if _is_valid(RouteTarget, target)]
            if _is_valid(AlertRouteSpec, {**spec, "targets": valid}):
                found[name] = AlertRouteSpec.model_validate({**spec, "targets": valid})
    return found


def _is_valid(model: type[Spec], value: Any) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True


def _read(table: type[SQLModel], model: type[SpecT], name: str, spec: dict[str, Any]) -> SpecT:
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise CatalogUnreadableError(
            f"the stored {table.__name__} {name!r} is invalid in this version of KubeProbe at {path}: "
            f"{first['msg']}; fix its YAML and `kubeprobe apply` it again"
        ) from error


class CatalogCache:
    """The catalog copy of a process, shared by its threads. While nothing changes, a look-up costs one statement."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._lock = Lock()

    def current(self, session: Session, version: int | None = None) -> Catalog:
        """The current catalog, reloaded if its version differs (after a database restore it may be lower).

        `version`: the stored version, if the caller has read it in this transaction already.
        """
        version, found = catalog_version(session) if version is None else version, self._catalog
        if found is not None and found.version == version:
            return found
        with self._lock:
            found = self._catalog
            if found is None or found.version != version:
                self._catalog = found = load_catalog(session)
            return found
