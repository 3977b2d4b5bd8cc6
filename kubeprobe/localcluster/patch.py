"""The three patch formats: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge patch.

Pure: each takes a document and a patch and returns a new document. Used by `registry`.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from kubeprobe.localcluster.errors import ApiError, bad_request
from kubeprobe.localcluster.objects import Object

# Lists that a strategic patch merges, with the field that identifies their elements. Kubernetes declares
# it in its types (`patchMergeKey`); here the name of the list is enough.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "conditions": "type",
    "ownerReferences": "uid",
    "secrets": "name",
}
_MERGED_SETS = frozenset({"finalizers"})


def merge_patch(document: Any, patch: Any) -> Any:
    """Apply a JSON merge patch: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_patch(document: Any, patch: Any) -> Any:
    """Apply a strategic merge patch: as a merge patch, but lists with a merge key merge by it."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            merged[field] = [item for item in merged.get(field, []) if item not in value]
        elif key.startswith("$"):
            continue  # $setElementOrder, $retainKeys: order and unions, which nothing here depends on
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_field(key, merged.get(key), value)
    return merged


def _merge_field(key: str, current: Any, value: Any) -> Any:
    if isinstance(value, list) and isinstance(current, list):
        if key in _MERGED_SETS:
            return current + [item for item in value if item not in current]
        merge_key = _MERGE_KEYS.get(key)
        if merge_key and all(isinstance(item, dict) for item in value):
            return _merge_list(merge_key, current, value)
    return strategic_patch(current, value)


def _merge_list(merge_key: str, current: list[Object], patch: list[Object]) -> list[Object]:
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    merged = {item.get(merge_key): item for item in current}
    for item in patch:
        identity = item.get(merge_key)
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        else:
            merged[identity] = strategic_patch(merged.get(identity), item)
    return list(merged.values())


def json_patch(document: Object, operations: Any) -> Any:
    """Apply a JSON patch. Raises `ApiError` (400, 422) with the real server's message, which gives no detail."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    root: Object = {"": deepcopy(document)}
    for operation in operations:
        apply = _OPERATIONS.get(operation.get("op"))
        if apply is None:
            raise _inapplicable()
        try:
            apply(root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _inapplicable() from error
    return root[""]


def _inapplicable() -> ApiError:
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request")


def _parent(root: Object, pointer: str) -> tuple[Any, Any]:
    """The container and the key that a JSON pointer names."""
    steps = [""] + [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    target: Any = root
    for step in steps[:-1]:
        target = target[int(step)] if isinstance(target, list) else target[step]
    last: Any = steps[-1]
    if isinstance(target, list):
        last = len(target) if last == "-" else int(last)
    return target, last


def _read(root: Object, pointer: str) -> Any:
    target, key = _parent(root, pointer)
    return target[key]


def _write(root: Object, pointer: str, value: Any) -> None:
    target, key = _parent(root, pointer)
    if isinstance(target, list):
        target.insert(key, value)
    else:
        target[key] = value


def _remove(root: Object, pointer: str) -> Any:
    target, key = _parent(root, pointer)
    return target.pop(key)


def _replace(root: Object, operation: Object) -> None:
    target, key = _parent(root, operation["path"])
    _ = target[key]
    target[key] = operation["value"]


def _test(root: Object, operation: Object) -> None:
    if _read(root, operation["path"]) != operation.get("value"):
        raise _inapplicable()


_OPERATIONS: dict[Any, Callable[[Object, Object], Any]] = {
    "add": lambda root, op: _write(root, op["path"], op["value"]),
    "remove": lambda root, op: _remove(root, op["path"]),
    "replace": _replace,
    "move": lambda root, op: _write(root, op["path"], _remove(root, op["from"])),
    "copy": lambda root, op: _write(root, op["path"], deepcopy(_read(root, op["from"]))),
    "test": _test,
}
