"""Syncs: a pushed revision is applied in one transaction, or the error is recorded."""

from datetime import timedelta

import pytest
import structlog
from sqlmodel import select

from kubeprobe.catalog import CatalogError, load_catalog
from kubeprobe.settings import Settings
from kubeprobe.sources import GitError, sync_due
from kubeprobe.store import Cluster, Schedule
from kubeprobe.trigger import RunRequest, issue_due, request_runs
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
