"""A probe's folder: its one case, its template, and its image.

Next: `trial` runs it, `image` builds it, `register` declares it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kubeprobe.catalog import Catalog, Declaration, parse
from kubeprobe.catalog.model import ProbeCaseSpec, ProbeTemplateSpec, RenderConfigSpec
from kubeprobe.errors import InvalidInputError

CATALOG_FILE = "catalog.yaml"
IMAGE_FILE = ".image"
"""Holds the image that was pushed last, with its digest. Neither in Git nor in the image."""
_DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ProbeFolder:
    """A folder with a valid `catalog.yaml`."""

    path: Path
    declaration: Declaration
    case: str

    @property
    def case_spec(self) -> ProbeCaseSpec:
        """The case."""
        return self.declaration.specs("ProbeCase", ProbeCaseSpec)[self.case]

    @property
    def image(self) -> str:
        """The image that the template names."""
        return self._templates[self.case_spec.template].image

    @property
    def parameters(self) -> frozenset[str]:
        """The names of the parameters that template and case set."""
        return frozenset({*self._templates[self.case_spec.template].env, *self.case_spec.parameters})

    @property
    def is_an_image(self) -> bool:
        """Whether it has a Dockerfile; built-in probes share one image."""
        return (self.path / "Dockerfile").is_file()

    @property
    def pushed_image(self) -> str | None:
        """The image with its digest that `probe build --push` pushed last."""
        file = self.path / IMAGE_FILE
        return file.read_text().strip() if file.is_file() else None

    def with_image(self, image: str | None) -> "ProbeFolder":
        """The same folder with this image in its template; None: unchanged."""
        if image is None:
            return self
        key = ("ProbeTemplate", self.case_spec.template)
        entry = self.declaration.entries[key]
        spec = ProbeTemplateSpec.model_validate(entry.spec.as_json() | {"image": image})
        entries = {**self.declaration.entries, key: replace(entry, spec=spec)}
        return replace(self, declaration=replace(self.declaration, entries=entries))

    def catalog(self) -> Catalog:
        """A catalog of this folder only."""
        return Catalog(
            templates=self._templates,
            cases=self.declaration.specs("ProbeCase", ProbeCaseSpec),
            render_configs=self.declaration.specs("RenderConfig", RenderConfigSpec),
        )

    @property
    def _templates(self) -> dict[str, ProbeTemplateSpec]:
        return self.declaration.specs("ProbeTemplate", ProbeTemplateSpec)


def read_folder(path: Path, known: Mapping[str, frozenset[str]] | None = None) -> ProbeFolder:
    """Read a probe's folder. `known`: names in the catalog that it may refer to.

    Raises InvalidInputError if it is not a probe's folder, CatalogError if its YAML is invalid.
    """
    file = path / CATALOG_FILE
    if not file.is_file():
        raise InvalidInputError(
            f"the folder {path} is not a probe: it has no {CATALOG_FILE}. `kubeprobe probe new NAME` creates one."
        )
    declaration = parse([file], known)
    cases = sorted(declaration.names("ProbeCase"))
    if len(cases) != 1:
        raise InvalidInputError(f"the file {file} declares {len(cases)} cases; a probe's folder declares one ProbeCase")
    folder = ProbeFolder(path, declaration, cases[0])
    if folder.case_spec.template not in declaration.names("ProbeTemplate"):
        raise InvalidInputError(
            f"the file {file} does not declare the ProbeTemplate {folder.case_spec.template!r} of its case"
        )
    return folder


def check_digest(image: str) -> str:
    """Return the image if it has a digest: a registered image must not change later. Raises InvalidInputError."""
    if not _DIGEST.fullmatch(image):
        raise InvalidInputError(
            f"image {image!r} has no digest; expected NAME@sha256:..., as `kubeprobe probe build --push` prints it"
        )
    return image
