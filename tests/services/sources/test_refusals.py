"""Errors of sources: the message says what is wrong, where, and what to do; nothing is changed."""

import socket
from pathlib import Path

import pytest

from kubeprobe.errors import InvalidInputError
from kubeprobe.sources import GitError, Secret, mirror, parse_address
from kubeprobe.store import Source
from tests.services.sources.given import OTHER_CASE, World
from tests.services.sources.servers import http_server

TOKEN = "kp-t0ken-nobody-may-see"


def test_a_refused_revision_is_not_parsed_again(world: World) -> None:
    world.add()
    commit = world.repository.push(catalog__deep_yaml="[" * 3000)
    place = f"team@{commit[:12]}:catalog/deep.yaml:1"
    assert world.poll()[0].error == f"{place}: YAML: nested too deeply; expected at most 100 levels"
    refused = world.source()
    assert refused.refused_tree == world.repository.git("rev-parse", f"{commit}:catalog").strip()
    later = world.repository.push(README="nothing of the catalog")
    assert place in world.poll()[0].error, "the first location, as it was not parsed again"
    assert (world.source().seen_commit, world.source().error_since) == (later, refused.error_since)
    assert world.cases() == {"dns"}


def test_an_unknown_branch_is_reported_with_the_known_ones_and_the_nearest(world: World) -> None:
    world.repository.git("push", "--quiet", "origin", "HEAD:release/1")
    with pytest.raises(GitError) as refused:
        world.add(branch="mian")
    expected = f"there is no branch 'mian' in {world.repository.bare}. Known: main, release/1. Did you mean 'main'?"
    assert str(refused.value) == expected


def test_the_branches_of_a_private_repository_are_listed_with_its_token(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server, pytest.raises(GitError, match="Known: main"):
        world.add(url=f"{server.url}/team.git", branch="master", secret=Secret(token=TOKEN))


def test_an_unknown_folder_is_reported_with_the_known_ones_and_the_nearest(world: World) -> None:
    commit = world.repository.push(catalog__deep__o_yaml=OTHER_CASE, shared__README="nothing")[:12]
    with pytest.raises(GitError) as refused:
        world.add(path="catlog")
    expected = "Known: catalog, shared, catalog/deep. Did you mean 'catalog'?"
    assert str(refused.value) == f"there is no folder 'catlog' at commit {commit}. {expected}"
    with pytest.raises(GitError) as refused:
        world.add(path="catalog/dns.yaml")
    expected = f"'catalog/dns.yaml' is a file at commit {commit}; expected a folder, such as catalog"
    assert str(refused.value) == expected


def test_a_redirect_is_reported_with_the_remedy(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server, pytest.raises(GitError) as refused:
        world.add(url=f"{server.url}/moved/team.git", secret=Secret(token=TOKEN))
    assert "use the target address, often the same with .git at the end" in str(refused.value)


def test_the_error_for_a_relative_path_without_a_dot_suggests_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=r"'repo' is not a repository address; .* use ./repo$"):
        parse_address("repo")
    assert parse_address("./repo").url == str(tmp_path / "repo")


def test_a_fetch_that_times_out_is_tried_once_per_sync(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add()
    monkeypatch.setattr(mirror, "FETCH_TIMEOUT_S", 1)
    left = world.context.folder / "team.git" / "objects" / "pack" / "tmp_pack_x"
    left.write_text("as a killed git leaves it")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)  # no connection is accepted or answered
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/team.git"
        with world.context.store.writing() as session:
            session.get(Source, "team").url = url
        (world.context.folder / "team.git" / "x.lock").touch()
        error = f"branch 'main' of {url} could not be fetched within 1 s: it is too large, or its server too slow"
        assert world.poll()[0].error == error
        assert _connections(silent) <= 1
    assert not left.exists()


def test_an_oversized_link_is_rejected_without_reading_it(world: World) -> None:
    world.add()
    git = world.repository.git
    (world.repository.tree / "long").write_text("x" * 5_000_000)
    blob = git("hash-object", "-w", "long").strip()
    (world.repository.tree / "long").unlink()
    git("update-index", "--add", "--cacheinfo", f"120000,{blob},catalog/long.yaml")
    git("commit", "--quiet", "--message", "a link")
    git("push", "--quiet", "origin", "HEAD:main")
    place = f"team@{world.repository.head()[:12]}:catalog/long.yaml:1"
    expected = "a link of 5,000,000 bytes; expected a link of at most 4,096 bytes to a file or folder of the repository"
    assert world.poll()[0].error == f"{place}: {expected}"


def _connections(server: socket.socket) -> int:
    """The number of connections that were made and not accepted yet."""
    found = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return found
        found += 1


def test_an_oversized_file_is_rejected(world: World) -> None:
    world.add()
    commit = world.repository.push(catalog__big_yaml="# " + "x" * 1_100_000)
    problem = world.poll()[0].error
    assert problem == f"team@{commit[:12]}:catalog/big.yaml:1: the file has 1,100,002 bytes; expected at most 1,000,000"
    assert world.cases() == {"dns"}


def test_a_large_file_that_is_not_yaml_is_ignored(world: World) -> None:
    world.repository.push(catalog__picture="x" * 3_000_000)
    world.add()
    assert world.cases() == {"dns"}
