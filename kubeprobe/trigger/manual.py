"""Manual runs: a person, a script or another system asks for a case on clusters, now.

Next: the caller wakes launchers with what was opened, and may wait for the outcomes by reading the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session
from ulid import ULID

from kubeprobe.catalog import Catalog, check_parameters
from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.names import nearest
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Trigger
from kubeprobe.trigger.open import OpenedRun, Opening, check_id, open_runs


@dataclass(frozen=True)
class Request:
    """What is asked for: a case, on clusters by name or by label selector (both: their union).

    `id` is the request's identity: asked twice with the same, it runs once.
    """

    case: str
    clusters: tuple[str, ...] = ()
    selector: str = ""
    parameters: Mapping[str, str] | None = None
    id: str = ""


def request_runs(
    session: Session, catalog: Catalog, request: Request, now: datetime, settings: Settings
) -> list[OpenedRun]:
    """Open one run for each cluster asked for.

    Raises NotFoundError for an unknown case or cluster, InvalidInputError for a cordoned one, an impossible id, or when
    nothing is asked.
    """
    if request.case not in catalog.cases:
        raise NotFoundError(f"There is no case {request.case!r}.{nearest(request.case, catalog.cases)}")
    check_id(request.id, "a request")
    chosen = _clusters(session, request)
    identity = request.id or str(ULID.from_datetime(now)).lower()
    parameters = check_parameters(request.parameters) if request.parameters else None
    openings = [
        Opening(
            slot=f"manual/{identity}/{request.case}/{cluster.name}",
            trigger=Trigger.MANUAL,
            case=request.case,
            cluster=cluster.name,
            pool=cluster.pool,
            due_at=now,
            parameters=parameters,
        )
        for cluster in chosen
    ]
    return open_runs(session, openings, now, settings)


def _clusters(session: Session, request: Request) -> Sequence[Cluster]:
    named = [clusters.get(session, name) for name in request.clusters]
    if cordoned := [c.name for c in named if c.cordoned_at is not None]:
        raise InvalidInputError(
            f"Cordoned, so nothing runs there: {', '.join(cordoned)}. `kubeprobe cluster uncordon` ends it."
        )
    if not request.selector:
        if not named:
            raise InvalidInputError("On which clusters? Give names (--cluster) or a label selector (--selector).")
        return named
    selector = parse_selector(request.selector)
    matching = [c for c in clusters.find(session, selector) if c.cordoned_at is None]
    if not matching and not named:
        raise NotFoundError(f"No cluster that is not cordoned matches {request.selector!r}.")
    by_name = {c.name: c for c in [*named, *matching]}
    return list(by_name.values())
