"""The catalog as it stands: a frozen copy that a process works with, loaded again when its version grew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import select
from sqlmodel import Session, SQLModel, col

from kubeprobe.catalog.model import (
    AlertRouteSpec,
    BindingSpec,
    ProbeCaseSpec,
    ProbeTemplateSpec,
    RenderConfigSpec,
    Spec,
)
from kubeprobe.errors import KubeProbeError, NotFoundError
from kubeprobe.names import nearest
from kubeprobe.store import AlertRoute, Binding, CatalogVersion, ProbeCase, ProbeTemplate, RenderConfig

SpecT = TypeVar("SpecT", bound=Spec)


class CatalogNotFoundError(NotFoundError):
    """A name that the catalog does not hold, perhaps no longer: it can change while a run is under way."""


class CatalogUnreadableError(KubeProbeError):
    """The store holds a spec that another version of KubeProbe wrote and this one does not understand."""


@dataclass(frozen=True)
class Catalog:
    """What is probed, where and when; by name. A binding that was paused by hand says `paused` here."""

    version: int = 0
    templates: Mapping[str, ProbeTemplateSpec] = field(default_factory=dict)
    cases: Mapping[str, ProbeCaseSpec] = field(default_factory=dict)
    render_configs: Mapping[str, RenderConfigSpec] = field(default_factory=dict)
    bindings: Mapping[str, BindingSpec] = field(default_factory=dict)
    routes: Mapping[str, AlertRouteSpec] = field(default_factory=dict)
    blueprints: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """What `render` has precomputed; it lives as long as this copy."""

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
        """The bindings, paused ones left out, that run when this component changes."""
        for name, binding in self.bindings.items():
            change = binding.on.change
            if change is not None and change.component == component and not binding.paused:
                yield name, binding

    def render_config(self, case: str, binding: str | None) -> RenderConfigSpec | None:
        """The values for a run: the binding's render config; else the case's only one, or the one of its name."""
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
    """How often the catalog has changed; 0 before the first apply."""
    return session.execute(select(col(CatalogVersion.version)).where(col(CatalogVersion.id) == 1)).scalar() or 0


def paused_by_hand(session: Session) -> frozenset[str]:
    """The bindings that somebody paused, whatever their YAML says."""
    return frozenset(session.execute(select(col(Binding.name)).where(col(Binding.paused_at).is_not(None))).scalars())


def load_catalog(session: Session) -> Catalog:
    """The catalog as the store holds it."""
    # Read first: should an apply slip in between, this copy looks older than it is and is loaded once more.
    version = catalog_version(session)
    by_hand = paused_by_hand(session)
    bindings = {
        name: spec.model_copy(update={"paused": True}) if name in by_hand else spec
        for name, spec in _load(session, Binding, BindingSpec).items()
    }
    return Catalog(
        version=version,
        templates=_load(session, ProbeTemplate, ProbeTemplateSpec),
        cases=_load(session, ProbeCase, ProbeCaseSpec),
        render_configs=_load(session, RenderConfig, RenderConfigSpec),
        bindings=bindings,
        routes=_load(session, AlertRoute, AlertRouteSpec),
    )


def _load(session: Session, table: type[SQLModel], model: type[SpecT]) -> dict[str, SpecT]:
    columns = table.__table__.c  # type: ignore[attr-defined]  # SQLModel declares no type for it
    rows = session.execute(select(columns.name, columns.spec).order_by(columns.name))
    return {name: _read(table, model, name, spec) for name, spec in rows}


def _read(table: type[SQLModel], model: type[SpecT], name: str, spec: dict[str, Any]) -> SpecT:
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise CatalogUnreadableError(
            f"the store's {table.__name__} {name!r} does not fit this version of KubeProbe at {place}: "
            f"{first['msg']}; mend its YAML and `kubeprobe apply` it again"
        ) from error


class CatalogCache:
    """One process's copy, shared by its threads. Asking costs one statement while nothing has changed."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._lock = Lock()

    def current(self, session: Session) -> Catalog:
        """The catalog as it stands, loaded anew if its version is another (a restored database may be older)."""
        version, found = catalog_version(session), self._catalog
        if found is not None and found.version == version:
            return found
        with self._lock:
            found = self._catalog
            if found is None or found.version != version:
                self._catalog = found = load_catalog(session)
            return found
