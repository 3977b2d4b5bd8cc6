"""The YAML of a catalog: files of people and of Git repositories."""

import tempfile
from pathlib import Path

from kubeprobe.catalog import CatalogError, CatalogProblem, parse
from kubeprobe.catalog.builtin import built_in_files
from kubeprobe.catalog.model import DOCUMENTS

_FILE = Path(tempfile.mkdtemp(prefix="fuzz-catalog-")) / "catalog.yaml"
_KNOWN = {kind: frozenset({"a", "pod-lifecycle"}) for kind in DOCUMENTS}
SEEDS: tuple[bytes, ...] = (
    *(file.read_bytes()[:4000] for file in built_in_files(bindings=True)[:4]),
    b"a: &a [b, *a]\nc: {<<: *a, d: !!int 0400}\n",
    b'{"kind": "ProbeTemplate", "spec": {"pod": {"priority": 1e3, "hostname": "\\ud83d\\ude00"}}}',
)


def fuzz(data: bytes) -> None:
    """Every input is a declaration, or a list of problems of bounded length."""
    _FILE.write_bytes(data)
    for problem in _problems():
        assert problem.line >= 1
        assert len(str(problem).encode()) < 10_000


def _problems() -> tuple[CatalogProblem, ...]:
    try:
        parse([_FILE], _KNOWN)
    except CatalogError as error:
        return error.problems
    return ()
