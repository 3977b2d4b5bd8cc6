"""Many syncs at the same time, and workers that are killed in the middle of one."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from multiprocessing.context import SpawnProcess
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from kubeprobe.catalog import load_catalog
from kubeprobe.settings import Settings
from kubeprobe.sources import SyncContext, SyncResult, request_sync, sync, sync_due
from kubeprobe.store import ProbeCase, Source, open_store
from tests.harness.wait import until
from tests.services.sources.given import CASE, OTHER_CASE, World


def test_concurrent_workers_apply_a_commit_once(world: World) -> None:
    first = world.add()
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    world.now += timedelta(minutes=1)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_sync_due, args=(_settings(world), world.now)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(180)
        assert worker.exitcode == 0
    with world.context.store.reading() as session:
        assert load_catalog(session).version == first.applied.version + 1
    assert world.source().claim == 1
    assert world.cases() == {"dns", "other"}


def test_a_sync_that_has_lost_its_claim_writes_nothing(world: World) -> None:
    world.add()
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    stale = world.source()
    stale.claim -= 1
    sync._sync(world.context, stale)
    assert world.cases() == {"dns"}


@pytest.mark.parametrize("after_ms", [0, 30, 60, 120, 250, 500])
def test_a_worker_that_is_killed_leaves_the_old_state_or_the_new(world: World, after_ms: int) -> None:
    with _syncing_worker(world) as worker:
        worker.join(after_ms / 1000)
        worker.kill()  # or it has finished already
    _is_old_or_new_and_then_new(world)


@pytest.mark.parametrize("commit", [1, 2])
def test_a_worker_that_is_killed_as_it_commits_leaves_the_old_state_or_the_new(world: World, commit: int) -> None:
    with _syncing_worker(world, killed_at=commit) as worker:
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL
    _is_old_or_new_and_then_new(world)


def test_a_mirror_that_a_killed_git_left_locked_is_recreated(world: World) -> None:
    world.add()
    mirror = world.context.folder / "team.git"
    (mirror / "shallow.lock").touch()
    (mirror / "HEAD").write_text("garbage")
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    assert world.poll()[0].error == ""
    assert world.cases() == {"dns", "other"}


def test_many_sources_are_synced_concurrently(world: World) -> None:
    world.add()
    for number in range(6):
        text = CASE.replace("{name: dns}", f"{{name: own-{number}}}")
        world.repository.push(**{f"part{number}__c_yaml": text})
        world.add(f"part-{number}", path=f"part{number}")
    found = world.poll()
    assert sorted(synced.source for synced in found) == [
        "part-0",
        "part-1",
        "part-2",
        "part-3",
        "part-4",
        "part-5",
        "team",
    ]
    assert not any(synced.error for synced in found)


def test_sources_that_become_due_during_a_sync_are_left_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add()
    synced: list[str] = []

    def slow(_: SyncContext, source: Source, **__: object) -> SyncResult:
        synced.append(source.name)
        assert len(synced) < 5, "it does not end"
        world.now += timedelta(hours=1)
        return SyncResult(source.name)

    monkeypatch.setattr(sync, "_sync", slow)
    world.poll()
    assert synced == ["team"]
    world.poll()
    assert synced == ["team", "team"]


def test_a_slow_source_delays_no_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add()
    for number in range(6):
        text = CASE.replace("{name: dns}", f"{{name: own-{number}}}")
        world.repository.push(**{f"part{number}__c_yaml": text})
        world.add(f"part-{number}", path=f"part{number}")
    ended: list[str] = []
    all_others = threading.Event()

    def sync_one(_: SyncContext, source: Source, **__: object) -> SyncResult:
        if source.name == "team":
            assert all_others.wait(60), "others wait for the slow one"
        ended.append(source.name)
        if len(ended) == 6:
            all_others.set()
        return SyncResult(source.name)

    monkeypatch.setattr(sync, "_sync", sync_one)
    assert len(world.poll(timedelta(hours=1))) == 7
    assert ended[-1] == "team"


def test_a_sync_that_is_requested_after_another_makes_the_source_due_again(world: World) -> None:
    world.add()
    world.poll()
    with world.context.store.writing() as session:
        assert request_sync(session, "team", world.now)
        assert not request_sync(session, "absent", world.now)
    assert len(world.poll(timedelta(0))) == 1
    assert world.poll(timedelta(0)) == []


@contextmanager
def _syncing_worker(world: World, killed_at: int = 0) -> Iterator[SpawnProcess]:
    """A worker process that has just started to sync a pushed commit; on exit it has ended."""
    world.add()
    world.repository.push(catalog__dns_yaml=CASE.replace("network", "platform"), catalog__o_yaml=OTHER_CASE)
    world.now += timedelta(minutes=1)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    worker = context.Process(target=_sync_due, args=(_settings(world), world.now, ready, killed_at))
    worker.start()
    assert ready.wait(180)
    yield worker
    worker.join(60)
    assert worker.exitcode is not None


def _is_old_or_new_and_then_new(world: World) -> None:
    with world.context.store.reading() as session:  # one statement: PostgreSQL may still commit for the killed worker
        state = {row.name: row.spec["owner"] for row in session.exec(select(ProbeCase))}
    assert state in [{"dns": "network"}, {"dns": "platform", "other": "network"}]
    # After the claim has expired, and PostgreSQL has noticed that the worker that locked the row is gone.
    until("a sync by another process", lambda: world.poll(timedelta(minutes=6)))
    assert (world.case().spec["owner"], world.cases()) == ("platform", {"dns", "other"})
    assert world.source().error == ""


def _settings(world: World) -> Settings:
    return world.context.settings.model_copy(
        update={"database_url": world.context.store.engine.url.render_as_string(hide_password=False)}
    )


def _sync_due(settings: Settings, now: datetime, ready: Any = None, killed_at: int = 0) -> None:
    """A worker process, killed right before its commit number `killed_at` (from 1; 0: never)."""
    context = replace(SyncContext.of(open_store(settings.database()), settings), clock=lambda: now)
    commits = count(1)

    def die(_: object) -> None:
        if next(commits) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(context.store.engine, "commit", die)
    if ready is not None:
        ready.set()
    sync_due(context)
