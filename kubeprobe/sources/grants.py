"""What a source may declare beyond probes: who can push to a repository must not thereby control the workers.

A grant is given by the person who adds the source (`--allow`), never by the repository. Without any, a source declares
templates, cases, configurations, bindings, and routes to the responder's log.
"""

from collections.abc import Collection, Iterator
from enum import StrEnum

from kubeprobe.catalog import CatalogProblem, Declaration
from kubeprobe.catalog.model import AlertRouteSpec, ClusterSpec
from kubeprobe.catalog.model.route import RouteTarget, SecretSource
from kubeprobe.catalog.parse import Entry
from kubeprobe.errors import InvalidInputError
from kubeprobe.names import nearest


class Grant(StrEnum):
    """A thing that a source may declare only if it is allowed to."""

    CLUSTERS = "clusters"
    """Clusters that are reached by a kubeconfig of the repository, at whatever address that has."""
    IN_CLUSTER = "in-cluster"
    """The cluster that KubeProbe runs in, with KubeProbe's own account."""
    LOCAL = "local"
    """The local cluster, whose pods are processes of this user."""
    TARGETS = "targets"
    """Routes that send to addresses which the repository names."""
    SECRET_ENV = "secret-env"  # noqa: S105 - a name
    """Routes whose secrets are environment variables of the responder."""
    SECRET_FILES = "secret-files"  # noqa: S105 - a name
    """Routes whose secrets are files that the responder can read."""
    TAKE_OVER = "take-over"
    """Entries that belong to no source: it may replace by-hand routes by ones that only log."""


_WHAT = {
    Grant.CLUSTERS: "a cluster with a kubeconfig",
    Grant.IN_CLUSTER: "the cluster that KubeProbe runs in",
    Grant.LOCAL: "the local cluster",
    Grant.TARGETS: "a target with an address",
    Grant.SECRET_ENV: "a secret in an environment variable of the responder",
    Grant.SECRET_FILES: "a secret in a file of the responder",
}
_CONNECTIONS = {"kubeconfig": Grant.CLUSTERS, "inCluster": Grant.IN_CLUSTER, "local": Grant.LOCAL}


def parse_grants(names: Collection[str]) -> tuple[Grant, ...]:
    """The grants of these names, sorted. Raises InvalidInputError with the nearest name."""
    known = [str(grant) for grant in Grant]
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"--allow: {name!r} is not a grant; expected {', '.join(known)}.{nearest(name, known)}"
            )
    return tuple(sorted(set(map(Grant, names))))


def missing_grants(declaration: Declaration, source: str, granted: Collection[str]) -> list[CatalogProblem]:
    """A problem for each thing in a declaration that the source may not declare.

    `take-over` depends on what is stored: `catalog.ownership` checks it.
    """
    problems = []
    for entry in declaration.entries.values():
        for grant, path in _needed(entry):
            if grant in granted:
                continue
            file, _, line = entry.origin.rpartition(":")
            message = f"source {source} may not declare {_WHAT[grant]}"
            expected = f"nothing of the kind; or, if its repository is trusted with it, the source with --allow {grant}"
            problems.append(CatalogProblem(file, int(line), f"{entry.kind}/{entry.name}", path, message, expected))
    return problems


def _needed(entry: Entry) -> Iterator[tuple[Grant, str]]:
    """The grants that an entry takes, and the field that takes each."""
    if isinstance(entry.spec, ClusterSpec):
        yield _CONNECTIONS[entry.spec.connection.kind], "spec.connection"
    if isinstance(entry.spec, AlertRouteSpec):
        for number, target in enumerate(entry.spec.targets):
            for grant in _needed_by(target):
                yield grant, f"spec.targets[{number}]"


def _needed_by(target: RouteTarget) -> Iterator[Grant]:
    secrets: list[SecretSource | None] = []
    if target.webhook or target.alertmanager or (target.apprise and target.apprise.url):
        yield Grant.TARGETS
    if target.apprise:
        secrets.append(target.apprise.url_from)
    if target.webhook:
        secrets.append(target.webhook.secret_from)
    for secret in secrets:
        if secret is not None:
            yield Grant.SECRET_FILES if secret.file is not None else Grant.SECRET_ENV
