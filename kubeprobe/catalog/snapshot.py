"""The current catalog: a frozen copy that a process works with, reloaded when its version changes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
from kubeprobe.catalog.problems import shorten
from kubeprobe.errors import KubeProbeError, NotFoundError
from kubeprobe.masking import mask_secrets
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
class Unreadable:
    """An entry whose stored spec is invalid in this version of KubeProbe: it still exists."""

    message: str
    """What is invalid, and where."""
    spec: Any = None
    """As it is stored, of any shape."""

    def text(self, field: str) -> str | None:
        """The value of a field, if it is text."""
        value = self.spec.get(field) if isinstance(self.spec, dict) else None
        return value if isinstance(value, str) else None

    def lacks(self, *path: str) -> bool:
        """Whether it certainly does not set the field at this path."""
        value = self.spec
        for name in path:
            if not isinstance(value, dict):
                return False
            if (value := value.get(name)) is None:
                return True
        return False

    def texts(self, field: str) -> frozenset[str]:
        """The texts in a field that is a list."""
        value = self.spec.get(field) if isinstance(self.spec, dict) else None
        return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()


@dataclass(frozen=True)
class Catalog:
    """All entries but clusters, by name. A binding that is paused by hand has `paused` set here.

    An entry that is `unreadable` is in no other mapping, but it is not removed: whatever acts on missing entries uses
    `names`.
    """

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
    unreadable: Mapping[tuple[str, str], Unreadable] = field(default_factory=dict)
    """By kind and name. Of a route that is listed here, `routes` has the valid targets."""
    blueprints: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Cache of `render`, valid as long as this copy."""

    def case(self, name: str) -> ProbeCaseSpec:
        """The case of this name; raises CatalogNotFoundError or CatalogUnreadableError."""
        return self._find(self.cases, "ProbeCase", name)

    def template(self, name: str) -> ProbeTemplateSpec:
        """The template of this name; raises CatalogNotFoundError or CatalogUnreadableError."""
        return self._find(self.templates, "ProbeTemplate", name)

    def binding(self, name: str) -> BindingSpec:
        """The binding of this name; raises CatalogNotFoundError or CatalogUnreadableError."""
        return self._find(self.bindings, "Binding", name)

    def case_names(self) -> frozenset[str]:
        """The names of all cases, unreadable ones too."""
        return frozenset(self.cases) | self.unreadable_of("ProbeCase").keys()

    def unreadable_of(self, kind: str) -> dict[str, Unreadable]:
        """The unreadable entries of a kind, by name."""
        return {name: entry for (found, name), entry in self.unreadable.items() if found == kind}

    def check_readable(self, kind: str, name: str) -> None:
        """Raises CatalogUnreadableError if this entry is unreadable."""
        if (entry := self.unreadable.get((kind, name))) is not None:
            raise CatalogUnreadableError(f"{entry.message}; fix its YAML and `kubeprobe apply` it again")

    def is_renderable(self, case: str) -> bool:
        """Whether the case, its template and its render configs are readable."""
        configs = self.unreadable_of("RenderConfig").values()
        is_config_readable = all(entry.text("for") not in {case, None} for entry in configs)
        return is_config_readable and case in self.cases and self.cases[case].template in self.templates

    def bindings_on_change(self, component: str) -> Iterator[tuple[str, BindingSpec]]:
        """The bindings that run when this component changes, without paused ones."""
        for name, binding in self.bindings.items():
            change = binding.on.change
            if change is not None and change.component == component and not binding.paused:
                yield name, binding

    def render_config(self, case: str, binding: str | None) -> RenderConfigSpec | None:
        """The render config of a run: the binding's; else the case's only one, or the one named like the case.

        Raises CatalogUnreadableError if that one is unreadable: without its values the probe would test another thing.
        """
        named = self._config_named_by(binding)
        candidates = self._configs_by_case.get(case, [])
        if named is not None and named not in candidates and self._is_of_unknown_case(named):
            candidates = [*candidates, named]
        if named not in candidates:
            named = candidates[0] if len(candidates) == 1 else case
        if named not in candidates:
            return None
        self.check_readable("RenderConfig", named)
        return self.render_configs[named]

    @cached_property
    def _configs_by_case(self) -> Mapping[str, list[str]]:
        """The names of the render configs of each case; without a readable `for`, its name counts as the case."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, config in self.render_configs.items():
            found[config.for_].append(name)
        for name, entry in self.unreadable_of("RenderConfig").items():
            found[entry.text("for") or name].append(name)
        return dict(found)

    def _is_of_unknown_case(self, config: str) -> bool:
        entry = self.unreadable.get(("RenderConfig", config))
        return entry is not None and not entry.text("for")

    def _config_named_by(self, binding: str | None) -> str | None:
        if binding is None:
            return None
        if (entry := self.unreadable.get(("Binding", binding))) is not None:
            named = entry.text("renderConfig")
            if named is None and not entry.lacks("renderConfig"):
                self.check_readable("Binding", binding)
            return named
        bound = self.bindings.get(binding)
        return bound.render_config if bound else None

    def _find(self, entries: Mapping[str, SpecT], kind: str, name: str) -> SpecT:
        self.check_readable(kind, name)
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
    """Load the catalog in one statement, so that the copy is consistent. An invalid entry stops no other."""
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
    unreadable: dict[tuple[str, str], Unreadable] = {}
    bindings = {
        name: spec.model_copy(update={"paused": True}) if name in by_hand else spec
        for name, spec in _read_all(specs, Binding, BindingSpec, unreadable).items()
    }
    return Catalog(
        version=version,
        templates=_read_all(specs, ProbeTemplate, ProbeTemplateSpec, unreadable),
        cases=_read_all(specs, ProbeCase, ProbeCaseSpec, unreadable),
        render_configs=_read_all(specs, RenderConfig, RenderConfigSpec, unreadable),
        bindings=bindings,
        routes=_read_routes(specs, unreadable),
        commits=commits,
        template_sources=template_sources,
        unreadable=unreadable,
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


def _read_all(
    specs: Mapping[str, Mapping[str, Any]],
    table: type[SQLModel],
    model: type[SpecT],
    unreadable: dict[tuple[str, str], Unreadable],
) -> dict[str, SpecT]:
    """The valid entries of a table; the others are added to `unreadable`."""
    found = {}
    for name, spec in sorted(specs[table.__name__].items()):
        try:
            found[name] = _validate(model, spec)
        except ValueError as error:
            message = f"the stored {table.__name__} {name!r} is invalid in this version of KubeProbe at {error}"
            message = mask_secrets(message)
            unreadable[table.__name__, name] = Unreadable(message, spec)
    return found


def _read_routes(
    specs: Mapping[str, Mapping[str, Any]], unreadable: dict[tuple[str, str], Unreadable]
) -> dict[str, AlertRouteSpec]:
    """Routes, without the targets that are invalid in this version: they must not stop the notification of others."""
    found = _read_all(specs, AlertRoute, AlertRouteSpec, unreadable)
    for kind, name in unreadable:
        spec = specs[kind][name]
        if kind == AlertRoute.__name__ and isinstance(spec, dict) and isinstance(spec.get("targets"), list):
            valid = [target for target in spec["targets"] if read_stored(RouteTarget, target)]
            if (route := read_stored(AlertRouteSpec, {**spec, "targets": valid})) is not None:
                found[name] = route
    return found


def read_stored(model: type[SpecT], value: Any) -> SpecT | None:
    """A stored spec, or an item of one; None if it is invalid in this version of KubeProbe."""
    try:
        return _validate(model, value)
    except ValueError:
        return None


def _validate(model: type[SpecT], spec: Any) -> SpecT:
    """Raises ValueError `PATH: PROBLEM`. Validators may raise any error, as only parsed documents have their shape."""
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise ValueError(f"{shorten(path)}: {shorten(first['msg'])}") from error
    except Exception as error:
        raise ValueError(f"spec: {shorten(repr(error))}") from error


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
                for (kind, name), entry in found.unreadable.items():
                    log.error("catalog entry unreadable", kind=kind, name=name, error=entry.message)
            return found
