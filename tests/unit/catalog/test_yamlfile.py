"""Reading YAML: Kubernetes objects as kubectl reads them, and every input within bounds."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.catalog import CatalogError, parse, yamlfile
from kubeprobe.catalog.yamlfile import read_documents
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, catalog, declared, document, problems


def read(tmp_path, text, kubernetes=None):
    """The values of a text's documents; a problem as text."""
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    found = read_documents(file, "a.yaml", kubernetes)
    return [one.value if isinstance(one, yamlfile.RawDocument) else str(one) for one in found]


def test_a_mode_in_a_pod_is_octal_as_for_kubectl(tmp_path):
    pod = "{volumes: [{name: s, secret: {secretName: s, defaultMode: 0400, optional: yes}}]}"
    found = declared(tmp_path, document("ProbeTemplate", f"{{image: a, pod: {pod}}}"))
    assert found.entries["ProbeTemplate", "x"].spec.pod == {
        "volumes": [{"name": "s", "secret": {"secretName": "s", "defaultMode": 256, "optional": True}}]
    }


def test_the_catalogs_own_fields_are_yaml_1_2(tmp_path):
    given = CASE.replace("blackbox}", "blackbox, description: no, alertAfter: 010}")
    found = declared(tmp_path, TEMPLATE, given, BINDING, CLUSTER)
    assert found.entries["ProbeCase", "pod-lifecycle"].spec.description == "no"
    assert found.entries["ProbeCase", "pod-lifecycle"].spec.alert_after == 10


def test_a_node_that_is_shared_is_read_by_the_rules_of_each_place(tmp_path):
    text = "kind: ProbeTemplate\nown: &shared [yes, 0400]\nspec: {pod: *shared}\n"
    (found,) = read(tmp_path, text, {"ProbeTemplate": {("spec", "pod")}})
    assert (found["own"], found["spec"]["pod"]) == (["yes", 400], [True, 256])


@pytest.mark.parametrize(
    ("pod", "quoted"),
    [
        ("nodeSelector: {gpu: on}", '"on"'),
        ("nodeSelector: {gpu: 0400}", '"0400"'),
        ("pod: {nodeSelector: {on: x}}", '"on"'),
        ("pod: {nodeSelector: {1.20: x}}", '"1.20"'),
        ("rbac: [{resources: [no], verbs: [get]}], serviceAccountName: a", '"no"'),
    ],
)
def test_a_scalar_that_kubectl_does_not_read_as_text_needs_quotes(tmp_path, pod, quoted):
    found = problems(tmp_path, document("ProbeTemplate", f"{{image: a, {pod}}}"))
    assert len(found) == 1
    assert quoted in found[0].expected


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"😀"', "😀", '"\\U0001F600"', json.dumps("😀")])
def test_emoji_are_read_however_they_are_written(tmp_path, text):
    assert read(tmp_path, f"a: {text}") == [{"a": "😀"}]
    assert read(tmp_path, f'{{"kind": "x", {text if text[0] == chr(34) else json.dumps(text)}: 1}}')[0]["😀"] == 1


@pytest.mark.parametrize("text", ['"\\ud83d"', '"\\ude00\\ud83d"', '"a\\0"'])
def test_half_an_emoji_and_nul_are_rejected_with_their_line(tmp_path, text):
    found = problems(tmp_path, CASE.replace("blackbox}", f"blackbox, owner: {text}}}"), TEMPLATE)
    assert [problem.line for problem in found] == [4]
    assert "the text contains the character" in found[0].message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: *b\n", "undefined alias"),
        ("[" * 500_000, "nested too deeply"),
        ("a: {" * 500_000, "nested too deeply"),
        ("- " * 500_000, "nested too deeply"),
        (f"a: {'{b: c}, ' * 3}", "YAML: "),
        ("a: [" + "1," * 300_000 + "]", "50,000 values"),
        ("a: &a " + "x" * 1_000_000 + "\nb: [*a, *a]", "1,500,000 characters"),
        ("".join(f"%TAG !a{number}! b\n" for number in range(20_000)) + "--- a", "%TAG"),
        ("a" * 2_000_000 + ": 1", "YAML: "),
        ("? " + "a" * 2_000_000 + "\n: 1", "1,500,000 characters"),
        ("{" + "a: 1, a: 2," * 10_000 + "}", "more than 100 problems"),
        ("- &a0 {b: c}\n" + "".join(f"- &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 310)), "nested too deeply"),
    ],
    ids=range(12),
)
def test_input_beyond_a_limit_is_one_short_problem(tmp_path, text, problem):
    *_, last = read(tmp_path, text)
    assert problem in last
    assert len(last) < 1000


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(yamlfile, "MAX_FILE_BYTES", 100)
    assert "more than 100 bytes" in read(tmp_path, "a: " + "x" * 100)[0]


def test_parsing_stops_after_a_thousand_problems(tmp_path):
    catalog(tmp_path, *["kind: nothing\n"] * 5000)
    with pytest.raises(CatalogError, match="more than 1,000 problems") as caught:
        parse([tmp_path])
    assert len(caught.value.problems) < 1010


def test_a_document_of_many_problems_shows_the_first(tmp_path):
    fields = ", ".join(f"image{number}: a" for number in range(20_000))
    found = problems(tmp_path, document("ProbeTemplate", f"{{image: a, {fields}}}"))
    assert len(found) == 101
    assert "19,900 more problems" in found[0].message


def test_a_pod_of_many_problems_shows_the_first(tmp_path):
    fields = ", ".join(f"contain{number}: 1" for number in range(5000))
    assert len(problems(tmp_path, document("ProbeTemplate", f"{{image: a, pod: {{{fields}}}}}"))) == 100


def test_what_a_message_repeats_is_shortened(tmp_path):
    long = "x" * 100_000
    for spec in (
        f"{{image: a, verdictFrom: {long}}}",
        f'{{image: "{long} "}}',
        f"{{image: a, env: {{{long[:900]}!: b}}}}",
    ):
        for found in problems(tmp_path, document("ProbeTemplate", spec)):
            assert len(str(found)) < 2000


def test_the_problems_of_a_document_with_a_long_name_are_short(tmp_path):
    cases = ", ".join(f"absent-{number}" for number in range(100))
    spec = f"{{cases: [{cases}], clusters: {{selector: {{}}}}, on: {{}}}}"
    long = "x" * 100_000
    found = problems(tmp_path, document("ProbeCase", "{}", name=long), document("Binding", spec, name=long))
    assert len(found) > 100
    assert all(len(str(problem)) < 2000 for problem in found)


def test_a_file_whose_name_is_not_utf_8_is_named_printably(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text(TEMPLATE)
    (entry,) = parse([tmp_path]).entries.values()
    assert entry.origin == f"{tmp_path}/\ufffd.yaml:2"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), max_size=4))
def test_json_is_read_as_json_reads_it(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a.json"
        file.write_text(json.dumps({"a": texts, "b": "\\ud83d\\ude00", "c": "😀"}))
        (found,) = read_documents(file, "a.json")
    assert found.value == {"a": texts, "b": "\\ud83d\\ude00", "c": "😀"}


def test_escapes_of_surrogates_are_text_where_yaml_has_no_escapes(tmp_path: Path) -> None:
    (file := tmp_path / "a.yaml").write_text(
        "plain: a\\ud83d\\ude00\nsingle: '\\ud83d'\nblock: |\n  \\uD83d\ndouble: \"\\\\ud83d \\ud83d\\ude00\"\n"
    )
    (found,) = read_documents(file, "a.yaml")
    assert found.value == {
        "plain": "a\\ud83d\\ude00",
        "single": "\\ud83d",
        "block": "\\uD83d\n",
        "double": "\\ud83d 😀",
    }
    file.write_text('a: "\\ud83d\\ude00"\nb: "\\U000FD83D"\n')
    (problem,) = read_documents(file, "a.yaml")
    assert "a.yaml:2: YAML: the file has both escapes" in str(problem)


def test_no_escape_makes_a_file_slow_to_read(tmp_path: Path) -> None:
    """The parser in Python takes 100 times as long as libyaml: it is not used."""
    (file := tmp_path / "a.yaml").write_text("---\n".join(f'a: "\\ud83d\\ude00 {number}"\n' for number in range(3)))
    with patch.object(yaml.SafeLoader, "__init__", side_effect=AssertionError("the parser in Python is used")):
        assert [document.value["a"] for document in read_documents(file, "a")] == ["😀 0", "😀 1", "😀 2"]
