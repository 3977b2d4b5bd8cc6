"""Many clusters at one address: the plain one, and simulated ones below /clusters/NAME.

A simulated cluster is created at its first request, so unused ones cost nothing.
"""

from collections.abc import Callable, Iterator

from kubeprobe.localcluster.cluster import Cluster
from kubeprobe.localcluster.errors import no_such_resource

PREFIX = "/clusters/"


class Fleet:
    """Finds the cluster that a path belongs to."""

    def __init__(self, plain: Cluster, size: int, simulated: Callable[[str], Cluster]) -> None:
        self._plain = plain
        self._make = simulated
        self._names = cluster_names(size)
        self._known = frozenset(self._names)
        self._clusters: dict[str, Cluster] = {}

    @property
    def names(self) -> list[str]:
        """The simulated clusters, in order."""
        return self._names

    def find(self, path: str) -> tuple[Cluster, str]:
        """The cluster and the rest of the path. Raises `ApiError` (404) for an unknown cluster."""
        if not path.startswith(PREFIX):
            return self._plain, path
        name, _, rest = path.removeprefix(PREFIX).partition("/")
        cluster = self._clusters.get(name)
        if cluster is None:
            if name not in self._known:
                raise no_such_resource()
            cluster = self._clusters[name] = self._make(name)
        return cluster, rest

    def __iter__(self) -> Iterator[Cluster]:
        """The clusters created so far."""
        yield self._plain
        yield from self._clusters.values()


def cluster_names(size: int) -> list[str]:
    """The names of a fleet of this size: c0001, c0002, ..."""
    width = max(4, len(str(size)))
    return [f"c{number:0{width}}" for number in range(1, size + 1)]
