"""The catalog files of the built-in probes, and example bindings for them.

Next: `kubeprobe apply --built-in` and `kubeprobe up` parse them like any other files.
"""

from dataclasses import replace
from importlib import resources
from pathlib import Path

from kubeprobe.catalog.model import ProbeTemplateSpec
from kubeprobe.catalog.parse import Declaration

_EXAMPLES = Path(str(resources.files("kubeprobe.catalog"))) / "examples"
_PROBES = Path(str(resources.files("probes")))
LOCAL_EXAMPLE = _EXAMPLES / "local"
"""What `kubeprobe up` applies at its first start."""
BUILT_IN_BINDINGS = _EXAMPLES / "built-in"


def built_in_files(*, bindings: bool) -> list[Path]:
    """Files with the templates and cases of every built-in probe, and with `bindings` that run them on all clusters."""
    return [*sorted(_PROBES.glob("*/catalog.yaml")), *([BUILT_IN_BINDINGS] if bindings else [])]


def with_image(declared: Declaration, image: str) -> Declaration:
    """A copy of the declaration whose templates of built-in probes use this image."""
    entries = {
        key: replace(entry, spec=entry.spec.model_copy(update={"image": image}))
        if isinstance(entry.spec, ProbeTemplateSpec) and entry.folder.is_relative_to(_PROBES)
        else entry
        for key, entry in declared.entries.items()
    }
    return replace(declared, entries=entries)
