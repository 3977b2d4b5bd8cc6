"""The built-in probes' own catalogs, which come with KubeProbe, and bindings to begin with.

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
"""What `kubeprobe up` begins with."""
BUILT_IN_BINDINGS = _EXAMPLES / "built-in"


def built_in_files(*, bindings: bool) -> list[Path]:
    """Templates and cases of every built-in probe, and what binds them to all clusters."""
    return [*sorted(_PROBES.glob("*/catalog.yaml")), *([BUILT_IN_BINDINGS] if bindings else [])]


def with_image(declared: Declaration, image: str) -> Declaration:
    """The same with this image in the built-in probes' templates, wherever one's clusters pull it from."""
    entries = {
        key: replace(entry, spec=entry.spec.model_copy(update={"image": image}))
        if isinstance(entry.spec, ProbeTemplateSpec) and entry.folder.is_relative_to(_PROBES)
        else entry
        for key, entry in declared.entries.items()
    }
    return replace(declared, entries=entries)
