"""Builders of small catalogs."""

from pathlib import Path
from textwrap import dedent

from kubeprobe.catalog import CatalogError, parse

TEMPLATE = """
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: probes}
spec: {image: docker.io/kubeprobe/probes:dev}
"""
CASE = """
apiVersion: kubeprobe.io/v1
kind: ProbeCase
metadata: {name: pod-lifecycle}
spec: {template: probes, kind: blackbox}
"""
BINDING = """
apiVersion: kubeprobe.io/v1
kind: Binding
metadata: {name: core}
spec:
  cases: [pod-lifecycle]
  clusters: {selector: {matchLabels: {region: eu}}}
  on: {periodic: {every: 5m}}
"""
CLUSTER = """
apiVersion: kubeprobe.io/v1
kind: Cluster
metadata: {name: prod-1}
spec: {labels: {region: eu}, connection: local}
"""


def catalog(folder: Path, *documents: str, file: str = "catalog.yaml") -> Path:
    """A folder with one file of these documents."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / file).write_text("---\n".join(dedent(document).lstrip("\n") for document in documents))
    return folder


def declared(folder: Path, *documents: str):
    """The declaration of these documents."""
    return parse([catalog(folder, *documents)])


def problems(folder: Path, *documents: str):
    """The problems of these documents."""
    try:
        parse([catalog(folder, *documents)])
    except CatalogError as error:
        return list(error.problems)
    return []


def only_problem(folder: Path, *documents: str):
    """The only problem of these documents."""
    found = problems(folder, *documents)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def document(kind: str, spec: str, name: str = "x") -> str:
    """A document of a kind with its spec in YAML flow style."""
    return f"apiVersion: kubeprobe.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
