"""Paths and namespaces for the tests of probes."""

from pathlib import Path
from typing import Any

Json = dict[str, Any]

NAMESPACE = "kubeprobe"
NODE_NAMESPACE = "kubeprobe-node"
"""The namespace of probes that cannot comply with `restricted`."""
REPOSITORY = Path(__file__).parents[2]
PROBES = REPOSITORY / "probes"
CLIENT = REPOSITORY / "clients" / "python"


def pods_in(namespace: str) -> str:
    """The path of a namespace's pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


PODS = pods_in(NAMESPACE)
