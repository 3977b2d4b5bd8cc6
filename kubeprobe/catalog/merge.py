"""Merging a template's partial PodSpec over KubeProbe's own, similar to a strategic merge patch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MERGE_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "containers": "name",
        "initContainers": "name",
        "volumes": "name",
        "env": "name",
        "imagePullSecrets": "name",
        "volumeMounts": "mountPath",
    }
)
"""Lists that are merged item by item, with their merge keys (those of core/v1); all others are replaced."""


def merge_pod(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` patched with `over`; neither is modified. Mappings merge by key, lists by merge key; null removes."""
    merged = dict(base)
    for field, value in over.items():
        if value is None:
            merged.pop(field, None)
        elif isinstance(value, dict) and isinstance(merged.get(field, {}), dict):
            merged[field] = merge_pod(merged.get(field, {}), value)
        elif isinstance(value, list) and field in MERGE_KEYS:
            merged[field] = _merge_list(merged.get(field, []), value, MERGE_KEYS[field])
        else:
            merged[field] = value
    return merged


def _merge_list(base: list[dict[str, Any]], over: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Items with the same key are merged; new ones are appended in their order."""
    merged = {item.get(key): dict(item) for item in base}
    for item in over:
        merged[item.get(key)] = merge_pod(merged.get(item.get(key), {}), item)
    return list(merged.values())


def unmergeable(over: Mapping[str, Any], path: str = "") -> str | None:
    """Describes the first list in a partial PodSpec that has an item without its merge key; None if there is none."""
    for field, value in over.items():
        here = f"{path}.{field}" if path else field
        items: list[Any] = []
        if field in MERGE_KEYS and value is not None:
            key = MERGE_KEYS[field]
            if not isinstance(value, list) or not all(_is_keyed(item, key) for item in value):
                return f"{here}, whose items need a {key}"
            items = value
        elif isinstance(value, dict):
            items = [value]
        for item in items:
            if found := unmergeable(item, here):
                return found
    return None


def _is_keyed(item: Any, key: str) -> bool:
    return isinstance(item, dict) and isinstance(item.get(key), str) and item[key] != ""
