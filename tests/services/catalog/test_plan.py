"""Plans: what an apply would change."""

import orjson
from sqlmodel import select

from kubeprobe.catalog import Action, FieldChange, pause
from kubeprobe.jsonmodel import to_json
from kubeprobe.store import CatalogVersion, ProbeCase
from tests.services.catalog.conftest import NOW
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, document


def by_name(plan):
    return {(item.kind, item.name): item for item in plan.items}


def test_a_plan_of_a_new_folder_adds_everything_and_writes_nothing(folder, store):
    plan = folder.plan()
    assert [(item.kind, item.action) for item in plan.items] == [
        ("Cluster", Action.ADDED),
        ("ProbeTemplate", Action.ADDED),
        ("ProbeCase", Action.ADDED),
        ("Binding", Action.ADDED),
    ]
    assert plan.changes_anything
    with store.reading() as session:
        assert session.exec(select(ProbeCase)).all() == []
        assert [row.version for row in session.exec(select(CatalogVersion))] in ([], [0])


def test_a_plan_contains_changed_fields_with_both_values(folder):
    folder.apply()
    changed = CASE.replace("kind: blackbox", "kind: blackbox, timeouts: {run: 2m}")
    plan = folder.write(TEMPLATE, changed, BINDING.replace("5m", "1m"), CLUSTER).plan()
    assert by_name(plan)["Binding", "core"].fields == (FieldChange("spec.on.periodic.every", "5m", "1m"),)
    assert by_name(plan)["ProbeCase", "pod-lifecycle"].fields == (FieldChange("spec.timeouts", None, {"run": "2m"}),)
    assert plan.count(Action.UNCHANGED) == 2


def test_a_plan_shows_runs_per_hour_before_and_after(folder):
    folder.apply()
    second = CLUSTER.replace("prod-1", "prod-2")
    plan = folder.write(TEMPLATE, CASE, BINDING.replace("5m", "1m"), CLUSTER, second).plan()
    assert [(load.cluster, load.before, load.after) for load in plan.loads] == [
        ("prod-1", 12.0, 60.0),
        ("prod-2", None, 60.0),
    ]


def test_a_plan_with_prune_contains_removed_entries(folder):
    folder.apply()
    folder.write(TEMPLATE, CASE)
    assert by_name(folder.plan())["Binding", "core"].action is Action.KEPT
    plan = folder.plan(prune=True)
    assert by_name(plan)["Binding", "core"].action is Action.REMOVED
    assert [(load.cluster, load.after) for load in plan.loads] == [("prod-1", None)]
    assert plan.timetables == ()


def test_a_plan_of_the_applied_folder_changes_nothing(folder):
    folder.apply()
    plan = folder.plan()
    assert not plan.changes_anything
    assert plan.version == 1


def test_a_binding_paused_by_hand_is_planned_as_paused(folder, store):
    folder.apply()
    with store.writing() as session:
        pause(session, "core", now=NOW)
    plan = folder.plan()
    assert [table.paused for table in plan.timetables] == [True]
    assert [load.after for load in plan.loads] == [0.0]


def test_a_plan_contains_warnings(folder):
    case = document("ProbeCase", "{template: probes, kind: inspection}", "lonely")
    plan = folder.write(TEMPLATE, CASE, case, BINDING.replace("eu", "mars"), CLUSTER).plan()
    assert len(plan.warnings) == 2


def test_a_plan_can_be_dumped_as_json(folder):
    found = orjson.loads(orjson.dumps(to_json(folder.plan())))
    assert found["runsPerHour"] == [{"cluster": "prod-1", "before": None, "after": 12.0}]
    assert found["timetables"][0]["schedule"] == "every 5m"
    assert len(found["timetables"][0]["times"]) == 5
    assert found["items"][0] | {"origin": ""} == {
        "kind": "Cluster",
        "name": "prod-1",
        "action": "added",
        "origin": "",
        "fields": [],
    }
