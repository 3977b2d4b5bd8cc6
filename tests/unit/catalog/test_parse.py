"""Parsing YAML: all problems at once, each with its location, the expectation and the nearest valid name."""

from pathlib import Path

import pytest

from kubeprobe.catalog import CatalogError, parse, references
from kubeprobe.catalog.references import Reference
from kubeprobe.errors import InvalidInputError
from kubeprobe.jsonmodel import to_json
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, catalog, document, only_problem, problems


def test_all_files_and_documents_of_a_folder_are_read(tmp_path):
    catalog(tmp_path / "cases", TEMPLATE, CASE, file="probes.yml")
    catalog(tmp_path / "bindings" / "deep", BINDING, CLUSTER)
    (tmp_path / "notes.txt").write_text("not: [yaml")
    found = parse([tmp_path])
    assert sorted(found.entries) == [
        ("Binding", "core"),
        ("Cluster", "prod-1"),
        ("ProbeCase", "pod-lifecycle"),
        ("ProbeTemplate", "probes"),
    ]
    assert found.entries["ProbeCase", "pod-lifecycle"].origin == f"{tmp_path}/cases/probes.yml:6"


def test_hidden_folders_are_skipped(tmp_path):
    catalog(tmp_path, TEMPLATE)
    catalog(tmp_path / ".git", "a: [")
    assert len(parse([tmp_path]).entries) == 1


def test_a_file_that_is_given_twice_is_read_once(tmp_path):
    catalog(tmp_path, TEMPLATE)
    assert len(parse([tmp_path, tmp_path / "catalog.yaml"]).entries) == 1


def test_empty_files_and_documents_are_skipped(tmp_path):
    catalog(tmp_path, "", TEMPLATE, "", "# a comment only\n")
    (tmp_path / "empty.yaml").touch()
    assert len(parse([tmp_path]).entries) == 1


def test_a_missing_path_and_a_folder_without_yaml_are_rejected(tmp_path):
    with pytest.raises(CatalogError, match="no such file or folder"):
        parse([tmp_path / "nowhere"])
    with pytest.raises(CatalogError, match=r"no \*\.yaml or \*\.yml file in this folder"):
        parse([tmp_path])


def test_all_problems_of_all_files_are_reported_at_once_ordered_by_file_and_line(tmp_path):
    catalog(tmp_path, document("ProbeCase", "{template: nope, kind: blackbx, retries: many}"), file="b.yaml")
    catalog(tmp_path, "just text\n", "- a list\n", file="a.yaml")
    catalog(tmp_path, "key: [1,\n", file="c.yaml")
    with pytest.raises(InvalidInputError) as caught:
        parse([tmp_path])
    assert isinstance(caught.value, CatalogError)
    shown = [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    assert [line.split(": ", 1)[0] for line in shown] == [
        "a.yaml:1",
        "a.yaml:3",
        "b.yaml:4",
        "b.yaml:4",
        "b.yaml:4",
        "c.yaml:2",
    ]
    assert str(caught.value).count("\n") == 5


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "<<: {"])
@pytest.mark.parametrize("closed", [True, False])
def test_nesting_too_deep_for_the_parser_is_one_problem_of_the_file(tmp_path, opening, closed):
    closing = {"[": "]", "{a: ": "}", "<<: {": "}"}.get(opening, "") if closed else ""
    (tmp_path / "deep.yaml").write_text(opening * 3000 + closing * 3000)
    catalog(tmp_path, CASE.replace("blackbox", "blackbx"), TEMPLATE)
    with pytest.raises(CatalogError) as caught:
        parse([tmp_path])
    shown = [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    assert shown[1:] == ["deep.yaml:1: YAML: nested too deeply; expected at most 100 levels"]


def test_nesting_too_deep_to_be_stored_is_reported_with_its_line(tmp_path):
    deep = "[" * 120 + "]" * 120
    catalog(tmp_path, TEMPLATE, CASE.replace("metadata:", f"extra:\n  {deep}\nmetadata:"))
    with pytest.raises(CatalogError, match=r"catalog.yaml:\d+: YAML: nested too deeply") as caught:
        parse([tmp_path])
    assert len(caught.value.problems) == 1


def test_a_problem_names_file_line_document_path_expectation_and_nearest_name(tmp_path):
    given = BINDING.replace("on: {periodic: {every: 5m}}", "on:\n    change: {component: a}\n    preiodic: {every: 5m}")
    assert str(only_problem(tmp_path, given, CASE, TEMPLATE)) == (
        f"{tmp_path}/catalog.yaml:9: Binding/core: spec.on.preiodic: unknown field 'preiodic'; "
        "expected periodic or change; did you mean 'periodic'?"
    )


@pytest.mark.parametrize(
    ("kind", "spec", "path", "expected", "near"),
    [
        ("ProbeCase", "{template: probes, kind: blackbx}", "spec.kind", "blackbox or inspection", "blackbox"),
        ("ProbeCase", "{template: probes, kind: blackbox, retry: 1}", "spec.retry", "retries", "retries"),
        ("ProbeCase", "{template: probes, kind: blackbox, severity: crit}", "spec.severity", "critical", "critical"),
        ("ProbeCase", "{template: probe, kind: blackbox}", "spec.template", "probes", "probes"),
        ("ProbeCase", "{kind: blackbox}", "spec.template", "ProbeTemplate", ""),
        ("ProbeCase", "{template: probes, kind: blackbox, timeouts: {run: 90}}", "spec.timeouts.run", "90s", "90s"),
        ("ProbeCase", "{template: probes, kind: blackbox, timeouts: {run: 1m 30s}}", "spec.timeouts.run", "1h30m", ""),
        ("ProbeCase", "{template: probes, kind: blackbox, timeouts: {run: 0s}}", "spec.timeouts.run", "1s", ""),
        ("ProbeCase", "{template: probes, kind: blackbox, parameters: {PORT: 80}}", "spec.parameters.PORT", '"80"', ""),
        (
            "ProbeCase",
            "{template: probes, kind: blackbox, parameters: {my-port: a}}",
            "spec.parameters.my-port",
            "letters",
            "MY_PORT",
        ),
        (
            "ProbeCase",
            "{template: probes, kind: blackbox, parameters: {KUBEPROBE_CASE: a}}",
            "spec.parameters.KUBEPROBE_CASE",
            "KUBEPROBE_",
            "",
        ),
        ("ProbeCase", "{template: probes, kind: blackbox, owner: }", "spec.owner", "a string", ""),
        (
            "ProbeCase",
            "{template: probes, kind: blackbox, alertAfter: 0}",
            "spec.alertAfter",
            "greater than or equal to 1",
            "",
        ),
        ("ProbeTemplate", "{image: a, verdictFrom: exitcode}", "spec.verdictFrom", "report or exitCode", "exitCode"),
        ("ProbeTemplate", "{image: a, resources: {limits: {cpu: lots}}}", "spec.resources.limits.cpu", "100m", ""),
        ("ProbeTemplate", "{image: a, pod: {volumez: []}}", "spec.pod.volumez", "PodSpec", "volumes"),
        ("ProbeTemplate", "{image: a, pod: {restartPolicy: Always}}", "spec.pod", "always Never", ""),
        ("ProbeTemplate", "{image: a, pod: {containers: [{image: b}]}}", "spec", "need a name", ""),
        ("ProbeTemplate", "{image: a, command: [sleep, 5]}", "spec.command[1]", '"5"', ""),
        ("Cluster", "{connection: locl}", "spec.connection", "local", "local"),
        ("Cluster", "{connection: {}}", "spec.connection", "one of kubeconfig", ""),
        ("Cluster", "{connection: local, limits: {pods: 0}}", "spec.limits.pods", "1", ""),
        ("Cluster", "{connection: local, namespace: Kube}", "spec.namespace", "", "kube"),
        ("AlertRoute", "{targets: []}", "spec.targets", "at least one", ""),
        ("AlertRoute", "{targets: [{name: a, webhook: {url: nope}}]}", "spec.targets[0].webhook.url", "http", ""),
        ("AlertRoute", "{targets: [{name: a}]}", "spec.targets[0]", "apprise, webhook, alertmanager and log", ""),
        ("AlertRoute", "{targets: [{name: a, log: {}}, {name: a, log: {}}]}", "spec.targets", "a unique name", ""),
        ("AlertRoute", "{targets: [{name: a, apprise: {}}]}", "spec.targets[0].apprise", "either url or urlFrom", ""),
        ("RenderConfig", "{for: pod-lifecycle, overrides: [{values: {}}]}", "spec.overrides[0]", "either cluster", ""),
        ("RenderConfig", "{for: pod-lifecycl}", "spec.for", "pod-lifecycle", "pod-lifecycle"),
    ],
)
def test_an_invalid_value_is_reported_with_its_path_and_the_expectation(tmp_path, kind, spec, path, expected, near):
    found = only_problem(tmp_path, TEMPLATE, CASE, document(kind, spec))
    assert (found.path, found.nearest, found.document) == (path, near, f"{kind}/x")
    assert expected in str(found)
    assert found.line == 14


@pytest.mark.parametrize(
    ("spec", "path", "expected", "near"),
    [
        (
            "clusters: {selector: {}}, on: {periodic: {every: 1m, cron: '* * * * *'}}",
            "spec.on.periodic",
            "either every or cron",
            "",
        ),
        ("clusters: {selector: {}}, on: {periodic: {cron: '61 * * * *'}}", "spec.on.periodic.cron", "five fields", ""),
        (
            "clusters: {selector: {}}, on: {periodic: {cron: '0 0 31 2 *'}}",
            "spec.on.periodic.cron",
            "a day that exists",
            "",
        ),
        ("clusters: {selector: {}}, on: {periodic: {cron: '@dayly'}}", "spec.on.periodic.cron", "@daily", "@daily"),
        (
            "clusters: {selector: {}}, on: {periodic: {cron: '* * * * *', timeZone: Europe/Berln}}",
            "spec.on.periodic.timeZone",
            "IANA",
            "Europe/Berlin",
        ),
        ("clusters: {selector: {}}, on: {periodic: {every: 1m, spread: 1m}}", "spec.on.periodic", "cron", ""),
        (
            "clusters: {selector: {}}, on: {periodic: {every: 1m, offset: 1m}}",
            "spec.on.periodic",
            "below the interval",
            "",
        ),
        ("clusters: {selector: {}}, on: {}", "spec.on", "periodic, change or both", ""),
        ("clusters: {selector: {}}, on: {change: {component: CoreDNS}}", "spec.on.change.component", "", "coredns"),
        (
            "clusters: {selector: {matchLabels: {a b: c}}}, on: {periodic: {every: 1m}}",
            "spec.clusters.selector.matchLabels.a b",
            "label key",
            "",
        ),
        (
            "clusters: {selector: {matchLabels: {wave: 1}}}, on: {periodic: {every: 1m}}",
            "spec.clusters.selector.matchLabels.wave",
            '"1"',
            "",
        ),
        (
            "clusters: {selector: {matchExpressions: [{key: a, operator: in}]}}, on: {periodic: {every: 1m}}",
            "spec.clusters.selector.matchExpressions[0].operator",
            "NotIn",
            "In",
        ),
        (
            "clusters: {selector: {matchExpressions: [{key: a, operator: In}]}}, on: {periodic: {every: 1m}}",
            "spec.clusters.selector.matchExpressions[0]",
            "values",
            "",
        ),
        ("clusters: {}, on: {periodic: {every: 1m}}", "spec.clusters", "either selector or names", ""),
        ("clusters: {names: [prod-2]}, on: {periodic: {every: 1m}}", "spec.clusters.names[0]", "prod-1", "prod-1"),
        (
            "clusters: {selector: {}}, on: {periodic: {every: 1m}}, renderConfig: nope",
            "spec.renderConfig",
            "none exists yet",
            "",
        ),
        (
            "clusters: {selector: {}}, on: {periodic: {every: 1m}}, concurrency: forbit",
            "spec.concurrency",
            "forbid, allow or replace",
            "forbid",
        ),
        ("clusters: {selector: {}}, on: {periodic: {every: 1m}}, paused: maybe", "spec.paused", "true or false", ""),
    ],
)
def test_an_invalid_binding_is_reported_with_its_path_and_the_expectation(tmp_path, spec, path, expected, near):
    given = document("Binding", f"{{cases: [pod-lifecycle], {spec}}}")
    found = only_problem(tmp_path, TEMPLATE, CASE, CLUSTER, given)
    assert (found.path, found.nearest) == (path, near)
    assert expected in str(found)


def test_an_unknown_kind_is_reported_with_the_nearest(tmp_path):
    found = only_problem(tmp_path, "apiVersion: kubeprobe.io/v1\nkind: Probecase\n")
    assert (found.line, found.path, found.nearest) == (2, "kind", "ProbeCase")


def test_an_unsupported_api_version_is_rejected_and_the_rest_is_checked_too(tmp_path):
    found = problems(tmp_path, CASE.replace("io/v1", "io/v2").replace("blackbox", "blackbx"), TEMPLATE)
    assert [problem.path for problem in found] == ["apiVersion", "spec.kind"]


def test_a_document_without_a_kind_or_a_spec_is_rejected(tmp_path):
    found = problems(tmp_path, "a: 1\n", "apiVersion: kubeprobe.io/v1\nkind: Binding\n")
    assert [problem.path for problem in found] == ["apiVersion", "kind", "metadata", "spec"]


def test_a_duplicate_name_is_reported_with_both_locations(tmp_path):
    found = only_problem(tmp_path, TEMPLATE, CASE, CASE)
    assert found.line == 13
    assert f"first at {tmp_path}/catalog.yaml:6" in found.message


def test_the_same_name_in_two_kinds_is_valid(tmp_path):
    assert problems(tmp_path, TEMPLATE, document("ProbeCase", "{template: probes, kind: blackbox}", "probes")) == []


def test_a_duplicate_key_is_reported_with_both_lines(tmp_path):
    found = only_problem(tmp_path, TEMPLATE + "  \n", CASE.replace("spec: {", "spec: {kind: inspection, "))
    assert found.path == "spec.kind"
    assert "first in line" in found.message


def test_invalid_yaml_is_reported_with_its_line_and_earlier_documents_are_checked(tmp_path):
    found = problems(tmp_path, document("ProbeCase", "{template: nope, kind: blackbox}"), "a: 'open\n")
    assert ["YAML: " in problem.message for problem in found] == [False, True]


def test_a_reference_into_a_file_of_invalid_yaml_is_not_reported_as_well(tmp_path):
    catalog(tmp_path, CASE)
    (tmp_path / "template.yaml").write_text("kind: ProbeTemplate\nmetadata:\n  name: probes\nspec: {image: [\n")
    with pytest.raises(CatalogError) as caught:
        parse([tmp_path])
    assert [problem.file for problem in caught.value.problems] == [f"{tmp_path}/template.yaml"]


def test_a_reference_to_an_invalid_document_is_not_reported_as_well(tmp_path):
    assert only_problem(tmp_path, TEMPLATE.replace("image", "imag"), CASE).path == "spec.imag"


def test_a_reference_to_an_entry_in_the_store_is_valid(tmp_path):
    catalog(tmp_path, CASE)
    assert parse([tmp_path], {"ProbeTemplate": frozenset({"probes"})}).names("ProbeCase") == {"pod-lifecycle"}


def test_a_binary_file_is_rejected(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match="UTF-8"):
        parse([tmp_path])


def test_anchors_and_merge_keys_work(tmp_path):
    given = CASE.replace(
        "spec: {template: probes, kind: blackbox}",
        "spec:\n  <<: &base {template: probes, kind: inspection}\n  kind: blackbox",
    )
    catalog(tmp_path, TEMPLATE, given)
    assert parse([tmp_path]).entries["ProbeCase", "pod-lifecycle"].spec.kind == "blackbox"


def test_an_alias_that_contains_itself_is_rejected(tmp_path):
    found = problems(tmp_path, TEMPLATE + "pod: &me {affinity: *me}\n")
    assert any("alias" in problem.message for problem in found)


def test_aliases_that_multiply_are_rejected_before_they_exhaust_memory(tmp_path):
    lines = ["l0: &l0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert any("aliases expand" in problem.message for problem in problems(tmp_path, "\n".join(lines) + "\n"))


def test_on_is_a_string_and_not_a_boolean(tmp_path):
    catalog(tmp_path, TEMPLATE, CASE, BINDING)
    assert parse([tmp_path]).entries["Binding", "core"].spec.on.periodic is not None


def test_a_problem_can_be_dumped_as_plain_values(tmp_path):
    found = only_problem(tmp_path, CASE)
    assert to_json(found) == {
        "file": str(Path(tmp_path) / "catalog.yaml"),
        "line": 4,
        "document": "ProbeCase/pod-lifecycle",
        "path": "spec.template",
        "message": "there is no ProbeTemplate 'probes'",
        "expected": "a ProbeTemplate; none exists yet",
        "nearest": "",
    }


def test_similar_names_are_searched_for_a_few_unknown_references_only(monkeypatch):
    searches = []
    monkeypatch.setattr(references, "nearest_name", lambda name, _valid: searches.append(name) or "")
    unknown = [Reference("f", 1, "Binding/b", "spec.cases", "ProbeCase", f"absent-{number}") for number in range(500)]
    valid = frozenset(f"case-{number}" for number in range(1000))
    found = references.check_references(unknown * 2, {"ProbeCase": valid})
    assert len(found) == 1000
    assert len(searches) == references.SUGGESTED
    *_, last = references.check_references(unknown * 3, {"ProbeCase": valid})
    assert last.message == "more than 1,000 unknown names; what follows was not checked"
