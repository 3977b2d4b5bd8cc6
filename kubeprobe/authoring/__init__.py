"""Authoring of probes: a folder that passes when it is created, tried, built and registered from the command line.

A probe's folder holds its program, `catalog.yaml` (one ProbeTemplate, one ProbeCase) and a Dockerfile. `scaffold`
creates one, `trial` runs it once, `image` builds it, `register` adds it to the catalog. Then it is a case like any
other: `trigger` opens its runs.
"""

from kubeprobe.authoring.folder import ProbeFolder, read_folder
from kubeprobe.authoring.scaffold import LANGUAGES, new_probe

__all__ = ["LANGUAGES", "ProbeFolder", "new_probe", "read_folder"]
