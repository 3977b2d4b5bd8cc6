"""Syncs: a pushed revision is applied in one transaction, or the error is recorded."""

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
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import event
from sqlmodel import select

from kubeprobe.catalog import CatalogError, load_catalog
from kubeprobe.settings import Settings
from kubeprobe.sources import GitError, SyncContext, SyncResult, request_sync, sync, sync_due
from kubeprobe.store import Cluster, ProbeCase, Schedule, Source, open_store
from kubeprobe.trigger import RunRequest, issue_due, request_runs
from tests.harness.wait import until
from tests.services.sources.given import BINDING, BROKEN, CASE, OTHER_CASE, World


def test_adding_a_source_applies_what_its_branch_declares(world: World) -> None:
    added = world.add()
    assert added.commit == world.repository.head()
    case, source = world.case(), world.source()
    assert (case.source, case.commit_id) == ("team", added.commit)
    assert case.origin == f"team@{added.commit[:12]}:catalog/dns.yaml:2"
    assert (source.applied_commit, source.seen_commit, source.error) == (added.commit, added.commit, "")
    with world.context.store.reading() as session:
        assert session.exec(select(Cluster.source)).all() == ["team"]
        assert [s.cluster for s in session.exec(select(Schedule))] == ["prod-1"]


def test_a_dry_run_returns_the_plan_and_stores_nothing(world: World) -> None:
    added = world.add(dry_run=True)
    assert [f"{item.kind}/{item.name}" for item in added.plan.items] == [
        "Cluster/prod-1",
        "ProbeTemplate/probes",
        "ProbeCase/dns",
        "Binding/core",
    ]
    assert added.applied is None
    assert world.cases() == set()


def test_a_pushed_commit_is_applied_by_the_next_sync(world: World) -> None:
    world.add()
    commit = world.repository.push(catalog__dns_yaml=CASE.replace("network", "platform"), catalog__o_yaml=OTHER_CASE)
    (synced,) = world.poll()
    assert (synced.commit, synced.error) == (commit, "")
    assert world.case().spec["owner"] == "platform"
    assert world.cases() == {"dns", "other"}
    assert world.case().commit_id == commit


def test_a_source_is_synced_when_it_is_due_and_not_before(world: World) -> None:
    world.add(every=timedelta(minutes=5))
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    assert world.poll(timedelta(minutes=4)) == []
    assert len(world.poll(timedelta(minutes=1))) == 1
    assert world.cases() == {"dns", "other"}


def test_a_commit_outside_of_the_folder_is_recorded_and_changes_nothing(world: World) -> None:
    first = world.add()
    version = first.applied.version
    commit = world.repository.push(README="more about it")
    (synced,) = world.poll()
    assert synced.applied is None
    source = world.source()
    assert (source.seen_commit, source.applied_commit) == (commit, first.commit)
    assert world.case().commit_id == first.commit
    with world.context.store.reading() as session:
        assert load_catalog(session).version == version


def test_entries_that_the_folder_no_longer_declares_are_removed(world: World) -> None:
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    world.add()
    world.repository.push(catalog__o_yaml=None)
    world.poll()
    assert world.cases() == {"dns"}


def test_without_prune_undeclared_entries_stay(world: World) -> None:
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    world.add(prune=False)
    world.repository.push(catalog__o_yaml=None)
    world.poll()
    assert world.cases() == {"dns", "other"}


def test_an_invalid_commit_leaves_the_old_state_and_is_reported_with_its_location(world: World) -> None:
    first = world.add()
    broken = world.repository.push(catalog__dns_yaml=BROKEN, catalog__o_yaml=OTHER_CASE)
    with structlog.testing.capture_logs() as logs:
        (synced,) = world.poll()
        world.poll()
        world.poll()
    place = f"team@{broken[:12]}:catalog/dns.yaml:4"
    assert synced.error.startswith(f"{place}: ProbeCase/dns: spec.kind: 'blackbx' is not allowed")
    assert world.cases() == {"dns"}
    assert world.case().commit_id == first.commit
    source = world.source()
    assert (source.seen_commit, source.applied_commit, source.error) == (broken, first.commit, synced.error)
    assert [entry["log_level"] for entry in logs] == ["warning"], "logged once, not at every sync"

    fixed = world.repository.push(catalog__dns_yaml=CASE)
    assert world.poll()[0].error == ""
    assert (world.source().error, world.source().applied_commit) == ("", fixed)
    assert world.cases() == {"dns", "other"}


def test_a_refused_revision_is_tried_again_after_the_catalog_has_changed(world: World) -> None:
    world.add()
    other = world.repository
    other.push(catalog__b_yaml=BINDING.replace("core", "more").replace("[dns]", "[dns, late]"))
    assert "there is no ProbeCase 'late'" in world.poll()[0].error
    assert "there is no ProbeCase 'late'" in world.poll()[0].error
    other.git("checkout", "--quiet", "--orphan", "second")
    other.git("rm", "-rf", "--quiet", ".")
    other.branch = "second"
    other.push(catalog__late_yaml=CASE.replace("{name: dns}", "{name: late}"))
    world.add("second", branch="second")
    assert [synced.error for synced in world.poll() if synced.source == "team"] == [""]


def test_reverting_an_invalid_commit_clears_the_error(world: World) -> None:
    world.add()
    world.repository.push(catalog__dns_yaml=BROKEN)
    assert world.poll()[0].error
    world.repository.git("revert", "--no-edit", "HEAD")
    world.repository.git("push", "--quiet", "origin", "HEAD:main")
    world.poll()
    assert world.source().error == ""


def test_a_forced_push_is_followed(world: World) -> None:
    world.repository.push(catalog__o_yaml=OTHER_CASE)
    world.add()
    rewritten = world.repository.rewrite(catalog__o_yaml=None, catalog__dns_yaml=CASE.replace("network", "platform"))
    (synced,) = world.poll()
    assert (synced.error, synced.commit) == ("", rewritten)
    assert world.cases() == {"dns"}
    assert world.case().spec["owner"] == "platform"


def test_a_deleted_branch_is_an_error_and_changes_nothing(world: World) -> None:
    first = world.add()
    world.repository.drop_branch()
    (synced,) = world.poll()
    assert synced.error == f"there is no branch 'main' in {world.repository.bare}. There are none yet."
    assert world.cases() == {"dns"}
    assert world.source().applied_commit == first.commit
    world.repository.git("push", "--quiet", "origin", "HEAD:main")
    assert world.poll()[0].error == ""


def test_a_deleted_repository_is_an_error_and_changes_nothing(world: World) -> None:
    world.add()
    world.repository.remove()
    assert "does not appear to be a git repository" in world.poll()[0].error
    assert world.cases() == {"dns"}


def test_a_deleted_folder_is_an_error_and_changes_nothing(world: World) -> None:
    world.add()
    world.repository.git("mv", "catalog", "elsewhere")
    world.repository.push()
    assert "there is no folder 'catalog'" in world.poll()[0].error
    assert world.cases() == {"dns"}


def test_a_folder_without_yaml_is_an_error_and_changes_nothing(world: World) -> None:
    world.add()
    world.repository.git("rm", "--quiet", "-r", "catalog")
    world.repository.push(catalog__README="nothing left")
    assert "there is no *.yaml or *.yml file in this folder" in world.poll()[0].error
    assert world.cases() == {"dns"}


def test_a_source_whose_first_commit_cannot_be_applied_is_not_added(world: World) -> None:
    world.repository.push(catalog__dns_yaml=BROKEN)
    with pytest.raises(CatalogError, match="'blackbx' is not allowed"):
        world.add()
    with pytest.raises(GitError, match="there is no branch 'absent'"):
        world.add(branch="absent")
    with pytest.raises(GitError, match="there is no folder 'absent'"):
        world.add(path="absent")
    assert sync_due(world.context) == []


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


def test_runs_record_the_commit_of_their_case(world: World, settings: Settings) -> None:
    first = world.add().commit
    store = world.context.store
    issue_due(store, world.now + timedelta(minutes=5), settings)
    with store.writing() as session:
        request_runs(session, load_catalog(session), RunRequest("dns", ("prod-1",)), world.now, settings)
    second = world.repository.push(catalog__dns_yaml=CASE.replace("network", "platform"))
    world.poll()
    issue_due(store, world.now + timedelta(minutes=20), settings)
    commits = {run.slot.split("/")[0]: run.case_commit for run in world.runs()}
    assert commits == {"periodic": f"team@{second}", "manual": f"team@{first}"}
    assert next(run.case_commit for run in world.runs()) == f"team@{first}"


def test_a_case_is_recorded_with_the_newest_applied_commit_even_if_it_did_not_change_it(world: World) -> None:
    world.add()
    commit = world.repository.push(catalog__o_yaml=OTHER_CASE)
    world.poll()
    with world.context.store.reading() as session:
        assert load_catalog(session).commits == {"dns": f"team@{commit}", "other": f"team@{commit}"}


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
