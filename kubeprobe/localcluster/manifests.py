"""Initial objects of a cluster, from YAML files: what `kubectl apply -f` would create."""

from collections.abc import Iterable
from pathlib import Path

from ruamel.yaml import YAML

from kubeprobe.localcluster.cluster import Cluster
from kubeprobe.localcluster.registry import Target


def create_from(cluster: Cluster, files: Iterable[Path]) -> int:
    """Create every object of these files, in order; returns their number. Raises ValueError for an unknown kind."""
    count = 0
    for file in files:
        for document in YAML(typ="safe", pure=True).load_all(file.read_text()):
            if document:
                cluster.registry.create(_target(cluster, document, file), document)
                count += 1
    return count


def _target(cluster: Cluster, document: dict[str, dict[str, str]], file: Path) -> Target:
    api_version, kind = str(document.get("apiVersion", "")), str(document.get("kind", ""))
    group, _, version = api_version.rpartition("/")
    for resource in cluster.resources.all():
        if (resource.group, resource.version, resource.kind) == (group, version, kind):
            namespace = document["metadata"].get("namespace", "default") if resource.namespaced else ""
            return Target(resource, namespace)
    raise ValueError(f"{file}: the local cluster has no {api_version} {kind}")
