"""Symbolic links of a repository: what they lead to within it is part of the source."""

from collections import Counter
from pathlib import Path

import pytest

from kubeprobe.sources.git import GitRunner
from tests.services.sources.given import OTHER_CASE, World


def link(world: World, path: str, target: str) -> None:
    place = world.repository.tree / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def test_a_link_to_a_folder_is_followed_also_through_other_links(world: World) -> None:
    link(world, "catalog/shared", "../common/now")
    link(world, "common/now", "v2/cases")
    world.repository.push(common__v2__cases__o_yaml=OTHER_CASE)
    world.add()
    assert world.cases() == {"dns", "other"}


def test_a_change_of_what_a_link_leads_to_outside_of_the_folder_is_applied(world: World) -> None:
    link(world, "catalog/shared", "../common")
    world.repository.push(common__o_yaml=OTHER_CASE)
    world.add()
    assert [synced.applied for synced in world.poll()] == [None]
    world.repository.push(common__o_yaml=OTHER_CASE.replace("owner: network", "owner: storage"))
    assert world.poll()[0].applied is not None
    assert world.case("other").spec["owner"] == "storage"


def test_links_that_form_a_circle_export_each_file_once(world: World) -> None:
    link(world, "catalog/self", ".")
    link(world, "catalog/shared", "../common")
    link(world, "common/back", "../catalog")
    world.repository.push(common__o_yaml=OTHER_CASE)
    world.add()
    assert world.cases() == {"dns", "other"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../absent", "a link to 'absent', which is not a file or folder"),
        ("../../outside", "a link that leads out of the repository"),
        ("/etc", "a link that leads out of the repository"),
        ("loop", "more than 40 links lead to one another"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(world: World, target: str, message: str) -> None:
    world.add()
    link(world, "catalog/loop" if target == "loop" else "catalog/shared", target)
    world.repository.push()
    error = world.poll()[0].error
    assert message in error
    assert "expected a link of at most 4,096 bytes to a file or folder of the repository" in error


def test_any_number_of_links_takes_a_few_git_processes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        link(world, f"catalog/links/{number}", "../../common")
    world.repository.push(common__o_yaml=OTHER_CASE)
    commands: Counter[str] = Counter()
    run = GitRunner.run

    def counted(self: GitRunner, *arguments: str, **options: object) -> bytes:
        commands[next(argument for argument in arguments if not argument.startswith("-"))] += 1
        return run(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(GitRunner, "run", counted)
    world.add()
    assert world.cases() == {"dns", "other"}
    assert commands["ls-tree"] == 2
    assert commands["cat-file"] <= 4


def test_files_of_a_submodule_are_not_part_of_the_source(world: World) -> None:
    (world.repository.tree / "catalog" / "vendored").mkdir()
    world.repository.git("update-index", "--add", "--cacheinfo", f"160000,{world.repository.head()},catalog/vendored")
    world.repository.push()
    world.add()
    assert world.cases() == {"dns"}


def test_a_link_that_leads_out_of_the_repository_is_rejected_and_not_followed(world: World, tmp_path: Path) -> None:
    world.add()
    outside = tmp_path / "outside.yaml"
    outside.write_text(OTHER_CASE)
    (world.repository.tree / "catalog" / "link.yaml").symlink_to(outside)
    (world.repository.tree / "catalog" / "up.yaml").symlink_to("../../../outside.yaml")
    world.repository.push()
    problem = world.poll()[0].error
    assert "catalog/link.yaml:1: a link that leads out of the repository" in problem
    assert "catalog/up.yaml:1: a link that leads out of the repository" in problem
    assert world.cases() == {"dns"}


def test_a_link_within_the_repository_is_replaced_by_its_file(world: World) -> None:
    world.repository.write(shared__o_yaml=OTHER_CASE)
    (world.repository.tree / "catalog" / "o.yaml").symlink_to("../shared/o.yaml")
    (world.repository.tree / "catalog" / "again.yaml").symlink_to("dns.yaml")
    world.repository.push()
    world.add()
    assert world.cases() == {"dns", "other"}
