"""Symbolic links in a folder of YAML files: followed as in a source from Git, each file once."""

from pathlib import Path

import pytest

from kubeprobe.catalog import CatalogError, parse

TEMPLATE = """\
apiVersion: kubeprobe.io/v1
kind: ProbeTemplate
metadata: {name: NAME}
spec: {image: "docker.io/kubeprobe/probes:dev"}
"""


def write(file: Path, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEMPLATE.replace("NAME", name))


def test_a_linked_folder_is_part_of_the_folder_also_through_other_links(tmp_path: Path) -> None:
    write(tmp_path / "catalog" / "own.yaml", "own")
    write(tmp_path / "common" / "v2" / "cases" / "o.yaml", "other")
    (tmp_path / "common" / "now").symlink_to("v2/cases")
    (tmp_path / "catalog" / "shared").symlink_to("../common/now")
    assert parse([tmp_path / "catalog"]).names("ProbeTemplate") == {"own", "other"}


def test_links_that_form_a_circle_give_each_file_once_under_its_own_path(tmp_path: Path) -> None:
    write(tmp_path / "catalog" / "z" / "own.yaml", "own")
    (tmp_path / "catalog" / "a").symlink_to("z")
    (tmp_path / "catalog" / "self").symlink_to(".")
    (tmp_path / "catalog" / "z" / "back").symlink_to("..")
    (entry,) = parse([tmp_path / "catalog"]).entries.values()
    assert entry.origin == f"{tmp_path}/catalog/z/own.yaml:1"


@pytest.mark.parametrize("target", ["../absent", "loop"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    write(tmp_path / "catalog" / "own.yaml", "own")
    (tmp_path / "catalog" / "loop").symlink_to(target)
    with pytest.raises(CatalogError, match="loop:1: a link to a file or folder that does not exist"):
        parse([tmp_path / "catalog"])


def test_hidden_links_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "catalog" / "own.yaml", "own")
    (tmp_path / "catalog" / ".git").symlink_to("../absent")
    assert parse([tmp_path / "catalog"]).names("ProbeTemplate") == {"own"}
