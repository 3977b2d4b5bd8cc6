from pathlib import Path

import pytest
import yaml

from kubeprobe.catalog.parse import parse
from kubeprobe.catalog.setup import security_of
from tests.probes.catalog import case_of, catalog_of
from tests.probes.paths import PROBES

FOLDERS = sorted(path.parent for path in PROBES.glob("*/catalog.yaml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_kubeprobe_accepts_the_probes_catalog(folder: Path) -> None:
    template, case = parse([folder / "catalog.yaml"]).entries
    assert (template[0], case[0]) == ("ProbeTemplate", "ProbeCase")
    assert template[1] == case[1] == folder.name.replace("_", "-")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_parameter_is_in_the_readme(folder: Path) -> None:
    _template, case = yaml.safe_load_all((folder / "catalog.yaml").read_text())
    readme = (folder / "README.md").read_text()
    assert [name for name in case["spec"]["parameters"] if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_probe_that_violates_restricted_is_reported_with_the_cause(folder: Path) -> None:
    if security_of(catalog_of(folder.name), case_of(folder.name)).level != "restricted":
        assert "not `restricted`" in (folder / "README.md").read_text()
