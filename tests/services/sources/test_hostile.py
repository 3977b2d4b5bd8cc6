"""Repositories made to break the machine that reads them: nothing is read, or held in memory, without limit."""

import os
import subprocess
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from kubeprobe.catalog import CatalogError
from kubeprobe.sources import GitError, git, listing, mirror, tree
from kubeprobe.sources.git import DiskLimit, GitDiskError, GitOutputError, git_runner
from kubeprobe.sources.mirror import Mirror
from tests.services.sources.given import OTHER_CASE, World
from tests.services.sources.test_grants import CLUSTER, KUBECONFIG


def write_tree(world: World, *entries: str) -> str:
    """A tree object of entries as `ls-tree -z` prints them; returns its id."""
    command = ["git", "-C", str(world.repository.tree), "mktree", "-z"]
    text = "".join(f"{entry}\0" for entry in entries).encode()
    return subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode().strip()


def push_root(world: World, root: str) -> None:
    git_of = world.repository.git
    commit = git_of("commit-tree", root, "-m", "made by hand").strip()
    git_of("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/main")


def blob(world: World, text: str) -> str:
    file = world.repository.tree / ".blob"
    file.write_text(text)
    return world.repository.git("hash-object", "-w", str(file)).strip()


def catalog_tree(world: World) -> str:
    return world.repository.git("rev-parse", "HEAD:catalog").strip()


def test_folders_that_contain_one_another_many_times_are_refused_without_listing_all(world: World) -> None:
    """Ten levels of ten times the same folder: 10^10 files in a repository of a few kilobytes."""
    world.add()
    found = write_tree(world, f"100644 blob {blob(world, '')}\tf.yaml")
    for _ in range(10):
        found = write_tree(world, *(f"040000 tree {found}\t{number}" for number in range(10)))
    push_root(world, write_tree(world, f"040000 tree {found}\tcatalog"))
    tracemalloc.start()
    try:
        error = world.poll()[0].error
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "folder 'catalog' has too many files and folders: their names have more than 20,000,000 bytes" in error
    assert peak < 5 * listing.MAX_LISTING_BYTES
    assert world.cases() == {"dns"}


def test_a_repository_that_is_too_large_for_the_disk_is_refused_and_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add()
    monkeypatch.setattr(mirror, "MAX_FETCH_BYTES", 1_000_000)
    (world.repository.tree / "large").write_bytes(os.urandom(3_000_000))
    world.repository.push()
    error = world.poll()[0].error
    assert "branch 'main' of" in error and "takes more than 1,000,000 bytes to fetch" in error
    assert "keep the catalog in a repository of its own" in error
    assert git.folder_size(world.context.folder) < 1_000_000
    assert world.cases() == {"dns"}
    (world.repository.tree / "large").unlink()
    world.repository.push(catalog__other_yaml=OTHER_CASE)
    assert world.poll()[0].error == ""
    assert world.cases() == {"dns", "other"}


def test_what_writes_without_end_is_killed_when_its_folder_is_too_large(tmp_path: Path) -> None:
    (grows := tmp_path / "grows").mkdir()
    endless = f"alias.endless=!while true; do printf %1000s >>{grows}/file; done; :"
    with git_runner(tmp_path / "sources") as runner, pytest.raises(GitDiskError, match="wrote more than 50,000 bytes"):
        runner.run("-c", endless, "endless", disk=DiskLimit(grows, 50_000))


def test_a_mirror_that_has_grown_too_large_is_fetched_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add()
    (stale := world.context.folder / "team.git" / "stale").write_bytes(b"x" * 2_000_001)
    monkeypatch.setattr(mirror, "MAX_FETCH_BYTES", 1_000_000)
    world.repository.push(catalog__other_yaml=OTHER_CASE)
    assert world.poll()[0].error == ""
    assert not stale.exists()


def test_output_beyond_its_limit_ends_the_command(world: World, tmp_path: Path) -> None:
    with git_runner(tmp_path / "calls") as runner:
        assert len(runner.run("version", max_bytes=100)) < 100
        with pytest.raises(GitOutputError, match="git version printed more than 5 bytes and was killed"):
            runner.run("version", max_bytes=5)


def test_only_the_begin_of_what_a_server_prints_is_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nhead -c 30000000 /dev/zero | tr '\\0' 'x' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    tracemalloc.start()
    try:
        with git_runner(tmp_path / "calls") as runner, pytest.raises(GitError, match="xxx"):
            runner.run("fetch")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert git.MAX_STDERR_BYTES < 5_000_000


def test_a_name_that_no_file_can_have_is_reported_with_its_place_and_once(world: World) -> None:
    world.add()
    name = f"{'n' * 300}.yaml"
    with_name = write_tree(
        world,
        *world.repository.git("ls-tree", "-z", "HEAD:catalog").strip("\0").split("\0"),
        f"100644 blob {blob(world, OTHER_CASE)}\t{name}",
    )
    push_root(world, write_tree(world, f"040000 tree {with_name}\tcatalog"))
    error = world.poll()[0].error
    assert f":catalog/{name}:1: a file cannot have this name: File name too long" in error
    assert world.source().refused_tree is not None, "it is not tried again at each interval"


@pytest.mark.parametrize("name", ["a\nb.yaml", "a\tb.yaml", " .yaml", "-rf.yaml", 'a"b.yaml', "ü\u202e.yaml", "*.yaml"])
def test_a_file_of_any_name_is_part_of_the_source(world: World, name: str) -> None:
    (world.repository.tree / "catalog" / name).write_text(OTHER_CASE)
    world.repository.push()
    world.add()
    assert world.cases() == {"dns", "other"}


def test_a_file_whose_name_is_not_utf_8_is_part_of_the_source(world: World) -> None:
    place = os.fsencode(world.repository.tree / "catalog") + b"/\xff\xfe.yaml"
    Path(os.fsdecode(place)).write_text(OTHER_CASE)
    world.repository.push()
    world.add()
    assert world.cases() == {"dns", "other"}


def test_tens_of_thousands_of_links_take_bounded_memory(world: World) -> None:
    world.repository.push(common__o_yaml=OTHER_CASE)
    target = blob(world, "../common")
    entries = [f"120000 blob {target}\tlink-{number}" for number in range(30_000)]
    old = world.repository.git("ls-tree", "-z", "HEAD").strip("\0").split("\0")
    links = write_tree(world, *entries)
    push_root(world, write_tree(world, *old, f"040000 tree {links}\tlinks"))
    tracemalloc.start()
    try:
        with pytest.raises(CatalogError, match="there is no ProbeTemplate 'probes'"):
            world.add(path="links")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000


def test_links_that_take_too_many_steps_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_STEPS", 10_000)
    world.add()
    for number in range(20):
        (world.repository.tree / "catalog" / f"link-{number}").symlink_to("../catalog/" * 300)
    world.repository.push()
    assert "too many links, or too long ones, before this one" in world.poll()[0].error


def test_a_mirror_that_lacks_a_file_is_an_error_and_not_a_wrong_file(world: World) -> None:
    world.add()
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    item = listing.Item("100644", "0" * 40, 5, "catalog/o.yaml")
    mirror = Mirror(world.context.folder, "team")
    with git_runner(world.context.folder) as runner, pytest.raises(GitError, match=r"lacks the file 'catalog/o\.yaml'"):
        listing.read_blobs(mirror, runner, [item])


def test_kubeconfigs_are_read_some_at_a_time_and_limited_in_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = tree.read_blobs

    def counted(mirror: object, runner: object, items: object) -> object:
        found = read(mirror, runner, items)  # type: ignore[arg-type]
        reads.append(sum(map(len, found)))
        return found

    monkeypatch.setattr(tree, "read_blobs", counted)
    monkeypatch.setattr(tree, "_BATCH_BYTES", 3 * len(KUBECONFIG))
    files = {f"catalog__c{n}_conf": f"{KUBECONFIG}# {n}\n" for n in range(10)}
    texts = [
        CLUSTER.replace("prod-1", f"c{n}").replace("CONNECTION", f"{{kubeconfig: {{file: c{n}_conf}}}}")
        for n in range(10)
    ]
    world.repository.push(**files, catalog__all_yaml="---\n".join(texts))
    world.add()
    assert len(reads) > 4
    assert max(reads[1:]) <= 3 * len(KUBECONFIG)
    monkeypatch.setattr(tree, "MAX_KUBECONFIG_BYTES", 1000)
    world.repository.push(README="again")
    with pytest.raises(CatalogError, match=r"its kubeconfigs have .* bytes; expected at most 1,000"):
        world.add("another")


def test_a_kubeconfig_outside_of_the_folder_is_applied_when_it_changes(world: World) -> None:
    declared = CLUSTER.replace("CONNECTION", "{kubeconfig: {file: ../secrets/prod_conf}}")
    world.repository.push(catalog__prod_yaml=declared, secrets__prod_conf=KUBECONFIG)
    world.add()
    assert world.poll()[0].applied is None
    world.repository.push(secrets__prod_conf=KUBECONFIG.replace("token: t", "token: renewed"))
    applied = world.poll()[0].applied
    assert applied is not None
    assert [item.name for item in applied.items if item.action == "changed"] == ["prod-1"]


def test_a_kubeconfig_outside_of_the_folder_that_is_added_later_ends_the_refusal(world: World) -> None:
    world.add()
    declared = CLUSTER.replace("CONNECTION", "{kubeconfig: {file: ../secrets/prod_conf}}")
    world.repository.push(catalog__prod_yaml=declared)
    assert "'../secrets/prod_conf' is not a file of this repository" in world.poll()[0].error
    world.repository.push(secrets__prod_conf=KUBECONFIG)
    assert world.poll(timedelta(minutes=1))[0].error == ""
