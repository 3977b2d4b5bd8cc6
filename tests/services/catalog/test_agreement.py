"""What `plan` accepts, `apply` can write, and a second apply leaves as it is: for any text and number, anywhere."""

import json
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from kubeprobe.catalog import Action, CatalogError, apply, known_names, load_catalog, make_plan, parse
from kubeprobe.catalog.changes import TABLES
from tests.services.catalog.conftest import NOW
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE

TEMPLATE_OF_MANY = {
    "apiVersion": "kubeprobe.io/v1",
    "kind": "ProbeTemplate",
    "metadata": {"name": "hostile"},
    "spec": {
        "image": "a",
        "command": ["a"],
        "env": {"A": "a"},
        "annotations": {"example.com/a": "a"},
        "resources": {"limits": {"memory": "1Gi"}},
        "tolerations": [{"key": "a", "value": "b", "tolerationSeconds": 5}],
        "pod": {
            "priority": 1,
            "hostname": "a",
            "containers": [{"name": "probe", "resources": {"limits": {"cpu": 1, "a": 2}}, "args": ["a"]}],
            "volumes": [{"name": "a", "secret": {"secretName": "a", "defaultMode": 256}}],
        },
    },
}
OTHERS = [
    {"kind": "ProbeCase", "spec": {"template": "probes", "kind": "blackbox", "owner": "a", "parameters": {"A": "a"}}},
    {"kind": "RenderConfig", "spec": {"for": "pod-lifecycle", "values": {"A": "a"}}},
    {
        "kind": "Binding",
        "spec": {
            "cases": ["pod-lifecycle"],
            "clusters": {"selector": {"matchLabels": {"a": "b"}}},
            "on": {"periodic": {"every": "5m"}},
        },
    },
    {"kind": "AlertRoute", "spec": {"match": {"owners": ["a"]}, "targets": [{"name": "a", "log": {}}]}},
    {"kind": "Cluster", "spec": {"labels": {"a": "b"}, "connection": "local", "limits": {"pods": 3}}},
]
DOCUMENTS = [
    TEMPLATE_OF_MANY,
    *({"apiVersion": "kubeprobe.io/v1", "metadata": {"name": "hostile"}, **other} for other in OTHERS),
]
any_text = st.text(st.characters(exclude_categories=()), max_size=8)  # with NUL and surrogates
hostile = st.one_of(
    any_text,
    st.sampled_from(["😀", "\0", "\ud83d", "\ude00\ud83d", "\ufeff", "\x7f", "\x85", "0400", "1e400", "x" * 5000]),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(any_text, max_size=2),
    st.dictionaries(any_text, any_text | st.floats() | st.integers(), max_size=2),
    st.integers(90, 130).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)


def places(value, path=()):
    """All paths in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(value, path, new, *, as_key):
    """The document with another value, or key, at one path."""
    if len(path) == 1 and as_key and isinstance(value, dict) and isinstance(new, str):
        return {(new if key == path[0] else key): item for key, item in value.items()}
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new, as_key=as_key)
    return copied


PLACES = [(number, path) for number, found in enumerate(DOCUMENTS) for path in places(found) if len(path) > 1]


@contextmanager
def rolled_back(session):
    """The next example finds the store as it was."""
    with session.begin_nested() as savepoint:
        yield
        if savepoint.is_active:
            savepoint.rollback()


def outcome(action):
    """The action's result, or its CatalogError."""
    try:
        return action()
    except CatalogError as error:
        return error


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(place=st.sampled_from(PLACES), value=hostile, as_key=st.booleans(), as_escapes=st.booleans())
@example(place=PLACES[1], value="\ud83d\ude00", as_key=False, as_escapes=True)
def test_plan_and_apply_agree_on_any_value_anywhere(folder, store, place, value, as_key, as_escapes):
    number, path = place
    text = json.dumps(changed(DOCUMENTS[number], path, value, as_key=as_key), ensure_ascii=as_escapes)
    folder.write(TEMPLATE, CASE, BINDING, CLUSTER, text.encode(errors="backslashreplace").decode())
    with store.writing() as session, rolled_back(session):
        declaration = outcome(lambda: parse([folder.path], known_names(session)))
        if isinstance(declaration, CatalogError):
            assert all(problem.line >= 1 and str(problem).encode() for problem in declaration.problems)
            return
        planned = outcome(lambda: make_plan(session, declaration, folder.connector, NOW))
        applied = outcome(lambda: apply(session, declaration, folder.connector, NOW))
        assert isinstance(planned, CatalogError) == isinstance(applied, CatalogError)
        if isinstance(applied, CatalogError):
            return
        assert {item.name: item.action for item in planned.items} == {item.name: item.action for item in applied.items}
        session.expire_all()
        load_catalog(session)
        for (kind, name), entry in declaration.entries.items():
            if kind in TABLES:
                columns = TABLES[kind].__table__.c
                stored = session.execute(select(columns.spec).where(columns.name == name)).scalar_one()
                assert stored == entry.spec.as_json()
        again = apply(session, parse([folder.path], known_names(session)), folder.connector, NOW)
        assert {item.action for item in again.items} == {Action.UNCHANGED}


def test_a_catalog_of_a_file_whose_name_is_not_utf_8_is_applied(folder, store):
    (folder.path / "catalog.yaml").rename(Path(str(folder.path / "\udcff.yaml")))
    folder.apply()
    assert {item.action for item in folder.plan().items} == {Action.UNCHANGED}
