"""Creates a new probe's folder, in Python, Go or shell, that passes unchanged. Next: `trial` runs it."""

import re
import shutil
from importlib import resources
from pathlib import Path

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.labels import name_problem

_PACKAGE = Path(str(resources.files("kubeprobe.authoring")))
_TEMPLATES = _PACKAGE / "templates"
LANGUAGES = tuple(sorted(folder.name for folder in _TEMPLATES.iterdir() if folder.is_dir()))
_NAME = re.compile(r"\{\{name\}\}")
_DOT = "dot-"
"""Prefix of hidden files among the templates, which packaging would leave out."""


def new_probe(name: str, parent: Path, language: str) -> Path:
    """Create the folder `parent/name`. Raises InvalidInputError: invalid name, or not an empty folder."""
    if problem := name_problem(name):
        raise InvalidInputError(f"invalid name of a probe: {problem}")
    if language not in LANGUAGES:
        raise InvalidInputError(f"there is no template for {language!r}; expected {', '.join(LANGUAGES)}")
    folder = parent / name
    if file := next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None):
        raise InvalidInputError(
            f"the path {file} is a file, where a folder is expected; nothing was changed. Choose another name or --dir."
        )
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInputError(
            f"the folder {folder} exists and is not empty; nothing was changed. Choose another name or --dir."
        )
    for source in sorted((_TEMPLATES / language).rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            _fill(source, folder / source.relative_to(_TEMPLATES / language), name)
    if language == "go":
        _copy_go_client(folder / "client")
    return folder


def _fill(source: Path, target: Path, name: str) -> None:
    if target.name.startswith(_DOT):
        target = target.with_name(f".{target.name.removeprefix(_DOT)}")
    target = target.with_name(target.name.removesuffix(".tmpl"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_NAME.sub(name, source.read_text()))
    target.chmod(source.stat().st_mode & 0o777)


def _copy_go_client(target: Path) -> None:
    """Copy the Go client's source, without its tests: the folder builds without a module proxy."""
    installed, checkout = _PACKAGE / "goclient", _PACKAGE.parents[1] / "clients" / "go"
    source = installed if installed.is_dir() else checkout
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*_test.go", "testdata", "vector", "crosscheck"))
