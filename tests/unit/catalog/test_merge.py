"""Merging a raw PodSpec."""

from kubeprobe.catalog.merge import merge_pod


def test_mappings_merge_key_by_key_and_null_removes():
    assert merge_pod({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": None, "e": 4}, "d": None}) == {"a": {"b": 1, "e": 4}}


def test_named_lists_merge_by_name_and_keep_their_order():
    base = {"containers": [{"name": "probe", "image": "a"}, {"name": "b"}]}
    over = {"containers": [{"name": "c"}, {"name": "probe", "tty": True}]}
    assert merge_pod(base, over)["containers"] == [
        {"name": "probe", "image": "a", "tty": True},
        {"name": "b"},
        {"name": "c"},
    ]


def test_mounts_merge_by_their_path():
    base = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    over = {"volumeMounts": [{"name": "tmp", "mountPath": "/var"}, {"name": "big", "mountPath": "/tmp"}]}
    assert merge_pod(base, over)["volumeMounts"] == [
        {"name": "big", "mountPath": "/tmp"},
        {"name": "tmp", "mountPath": "/var"},
    ]


def test_other_lists_and_values_are_replaced():
    assert merge_pod({"args": ["a", "b"], "x": {"y": 1}}, {"args": ["c"], "x": "z"}) == {"args": ["c"], "x": "z"}


def test_neither_side_is_modified():
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    merge_pod(base, over)
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})
