"""What a source is refused for is told with what is wrong, where, and what to do; nothing is changed."""

import socket
from pathlib import Path

import pytest

from kubeprobe.errors import InvalidInputError
from kubeprobe.sources import GitError, Secret, mirror, parse_address
from kubeprobe.store import Source
from tests.services.sources.given import OTHER_CASE, World
from tests.services.sources.servers import http_server

TOKEN = "kp-t0ken-nobody-may-see"


def test_a_file_that_is_nested_too_deeply_is_told_and_not_tried_again_as_it_is(world: World) -> None:
    world.add()
    commit = world.repository.push(catalog__deep_yaml="[" * 3000)
    place = f"team@{commit[:12]}:catalog/deep.yaml:1"
    assert world.poll()[0].error == f"{place}: YAML: nested too deeply; expected at most 100 levels"
    refused = world.source()
    assert refused.refused_tree == world.repository.git("rev-parse", f"{commit}:catalog").strip()
    later = world.repository.push(README="nothing of the catalog")
    assert place in world.poll()[0].error, "as it was told first, for it was not read again"
    assert (world.source().seen_commit, world.source().error_since) == (later, refused.error_since)
    assert world.cases() == {"dns"}


def test_a_branch_that_is_not_there_is_told_with_those_that_are_and_the_nearest(world: World) -> None:
    world.repository.git("push", "--quiet", "origin", "HEAD:release/1")
    with pytest.raises(GitError) as refused:
        world.add(branch="mian")
    told = f"there is no branch 'mian' in {world.repository.bare}. There are: main, release/1. Did you mean 'main'?"
    assert str(refused.value) == told


def test_the_branches_of_a_private_repository_are_told_to_who_has_its_token(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server, pytest.raises(GitError, match="There are: main"):
        world.add(url=f"{server.url}/team.git", branch="master", secret=Secret(token=TOKEN))


def test_a_folder_that_is_not_there_is_told_with_those_that_are_and_the_nearest(world: World) -> None:
    commit = world.repository.push(catalog__deep__o_yaml=OTHER_CASE, shared__README="nothing")[:12]
    with pytest.raises(GitError) as refused:
        world.add(path="catlog")
    told = "There are: catalog, shared, catalog/deep. Did you mean 'catalog'?"
    assert str(refused.value) == f"there is no folder 'catlog' at commit {commit}. {told}"
    with pytest.raises(GitError) as refused:
        world.add(path="catalog/dns.yaml")
    told = f"'catalog/dns.yaml' is a file at commit {commit}; expected a folder, such as catalog"
    assert str(refused.value) == told


def test_a_redirect_is_told_with_what_to_do(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server, pytest.raises(GitError) as refused:
        world.add(url=f"{server.url}/moved/team.git", secret=Secret(token=TOKEN))
    assert "give the address it leads to, often the same with .git at its end" in str(refused.value)


def test_a_folder_that_is_given_without_a_dot_is_offered_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=r"'repo' is no address of a repository; .* say ./repo$"):
        parse_address("repo")
    assert parse_address("./repo").url == str(tmp_path / "repo")


def test_a_branch_that_is_too_large_is_fetched_once_at_a_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add()
    monkeypatch.setattr(mirror, "FETCH_WITHIN_S", 1)
    left = world.context.folder / "team.git" / "objects" / "pack" / "tmp_pack_x"
    left.write_text("as a git that was ended leaves it")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)  # nobody takes a connection, or answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/team.git"
        with world.context.store.writing() as session:
            session.get(Source, "team").url = url
        (world.context.folder / "team.git" / "x.lock").touch()
        told = f"branch 'main' of {url} is too large to fetch within 1 s, or its server too slow; "
        assert world.poll()[0].error == f"{told}expected a branch of small files"
        assert _connections(silent) <= 1
    assert not left.exists()


def test_a_link_that_is_longer_than_a_path_is_refused_unread(world: World) -> None:
    world.add()
    git = world.repository.git
    (world.repository.tree / "long").write_text("x" * 5_000_000)
    blob = git("hash-object", "-w", "long").strip()
    (world.repository.tree / "long").unlink()
    git("update-index", "--add", "--cacheinfo", f"120000,{blob},catalog/long.yaml")
    git("commit", "--quiet", "--message", "a link")
    git("push", "--quiet", "origin", "HEAD:main")
    place = f"team@{world.repository.head()[:12]}:catalog/long.yaml:1"
    told = "a link of 5,000,000 bytes; expected a file, or a link of at most 4,096 bytes"
    assert world.poll()[0].error == f"{place}: {told}"


def _connections(server: socket.socket) -> int:
    """How many have been made and were not taken yet."""
    found = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return found
        found += 1
