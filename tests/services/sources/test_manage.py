"""Adding, replacing and removing sources, also concurrently."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlmodel import select

from kubeprobe.catalog import apply, parse
from kubeprobe.catalog.comparison import known_names
from kubeprobe.catalog.ownership import Author
from kubeprobe.errors import InvalidInputError
from kubeprobe.sources import GitError, Secret, remove_source
from kubeprobe.sources.mirror import Mirror
from kubeprobe.store import Cluster, ProbeCase, Source, Store
from tests.harness.wait import until
from tests.services.sources.given import World
from tests.services.sources.servers import http_server

TOKEN = "kp-t0ken-nobody-may-see"


@pytest.mark.parametrize("prune", [False, True])
def test_a_source_that_is_removed_during_a_sync_leaves_no_owned_entries(world: World, *, prune: bool) -> None:
    world.add()
    store, context = world.context.store, world.context
    with ThreadPoolExecutor(1) as other:
        with store.writing() as session:
            session.get(Source, "team", with_for_update=True)  # as a sync does, before it applies
            removed = other.submit(_remove, world, prune=prune)
            if store.engine.dialect.name == "postgresql":  # SQLite has one writer at a time
                until("the removal to wait for the row", lambda: _is_waiting(store))
            folder = [world.repository.tree / "catalog"]
            declaration = parse(folder, known_names(session, prune=True, source="team"))
            author = Author("team", "c0ffee")
            apply(session, declaration, context.connector, world.now, prune=True, author=author)
        removed.result(60)
    with store.reading() as session:
        assert session.exec(select(Source)).all() == []
        assert set(session.exec(select(ProbeCase.source))) == (set() if prune else {None})
        assert set(session.exec(select(Cluster.source))) == (set() if prune else {None})


def test_a_source_that_is_added_concurrently_is_not_replaced(world: World) -> None:
    with http_server(world.repository.bare.parent, TOKEN) as server:
        server.meanwhile = lambda: _insert(world)
        with pytest.raises(InvalidInputError, match="source 'team' already exists; use --replace to change it"):
            world.add(url=f"{server.url}/team.git", secret=Secret(token=TOKEN))
    assert world.source().url == "/somebody/elses"
    assert world.cases() == set()


def test_a_source_that_is_changed_concurrently_is_not_replaced(world: World) -> None:
    world.add()
    with http_server(world.repository.bare.parent, TOKEN) as server:
        server.meanwhile = lambda: _pull_every(world, 600)
        with pytest.raises(
            InvalidInputError, match="'team' was changed concurrently; see `kubeprobe source show team`"
        ):
            world.add(url=f"{server.url}/team.git", secret=Secret(token=TOKEN), replace=True)
    assert (world.source().url, world.source().every_s) == (str(world.repository.bare), 600)


def test_mirrors_are_private_to_their_user(world: World) -> None:
    folder = world.context.folder
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    world.add()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "team.git")] == [0o700, 0o700]
    (folder / "team.git").chmod(0o755)
    world.poll()
    assert stat.S_IMODE((folder / "team.git").stat().st_mode) == 0o700


def test_a_source_that_is_not_stored_leaves_no_mirror(world: World) -> None:
    world.add(dry_run=True)
    with pytest.raises(GitError):
        world.add("other", path="absent")
    with pytest.raises(GitError):
        world.add("third", url="/absent")
    assert list(world.context.folder.iterdir()) == []


def test_a_failed_replacement_keeps_the_mirror(world: World) -> None:
    world.add()
    world.add(replace=True, dry_run=True)
    with pytest.raises(GitError):
        world.add(replace=True, path="absent")
    assert _copies(world) == {"team.git"}
    assert world.poll()[0].error == ""


def test_a_sync_deletes_mirrors_of_removed_sources(world: World) -> None:
    world.add()
    with world.context.store.writing() as session:
        session.delete(session.get(Source, "team"))  # as from another machine
    with Mirror(world.context.folder, "team").lock():  # as a process that adds it again
        world.poll()
        assert _copies(world) == {"team.git"}
    world.poll()
    assert list(world.context.folder.iterdir()) == []
    world.add()
    world.poll()
    assert _copies(world) == {"team.git"}
    _remove(world, prune=False)
    assert list(world.context.folder.iterdir()) == []


def test_waiting_for_the_lock_of_a_deleted_mirror_locks_its_successor(world: World) -> None:
    mirror = Mirror(world.context.folder, "team")
    with ThreadPoolExecutor(1) as other:
        with mirror.lock():
            waiting = other.submit(_hold, mirror)
            mirror.delete()
        assert waiting.result(60)


def _hold(mirror: Mirror) -> bool:
    """Whether the lock excludes others."""
    with mirror.lock():
        mirror.path.mkdir()
        mirror.delete_if_unlocked()
        return mirror.path.exists()


def _copies(world: World) -> set[str]:
    return {path.name for path in world.context.folder.glob("*.git")}


def _remove(world: World, *, prune: bool) -> None:
    with world.context.store.writing() as session:
        remove_source(session, world.context, "team", world.context.connector, prune=prune)


def _is_waiting(store: Store) -> bool:
    with store.reading() as session:
        return bool(session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def _pull_every(world: World, seconds: int) -> None:
    with world.context.store.writing() as session:
        session.get(Source, "team").every_s = seconds


def _insert(world: World) -> None:
    with world.context.store.writing() as session:
        row = Source(name="team", url="/somebody/elses", branch="main", every_s=60, next_sync=world.now)
        row.created_at = world.now
        session.add(row)
