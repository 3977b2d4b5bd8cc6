"""A pod's volumes as directories of this machine: emptyDir, secret, configMap, downwardAPI, projected.

Other volume types become empty directories; a hostPath is used as it is.
"""

from pathlib import Path

from kubeprobe.localcluster.kubelet.environment import (
    ConfigError,
    config_map_data,
    pod_field,
    secret_data,
)
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.store import Store


def prepare_volumes(store: Store, pod: Object, directory: Path) -> dict[str, Path]:
    """Create the directory of each volume. Raises `ConfigError`, naming the volume, for a missing object or key."""
    prepared = {}
    for volume in pod["spec"].get("volumes") or ():
        name = volume["name"]
        try:
            prepared[name] = _prepare(store, pod, volume, directory / name)
        except ConfigError as error:
            raise ConfigError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    return prepared


def mounted_paths(container: Object, volumes: dict[str, Path]) -> dict[str, str]:
    """The container's mount paths and the real path of each."""
    paths = {}
    for mount in container.get("volumeMounts") or ():
        volume = volumes[mount["name"]]
        real = volume / mount["subPath"] if mount.get("subPath") else volume
        if mount.get("subPath") and not real.exists():
            real.mkdir(parents=True)
        paths[mount["mountPath"].rstrip("/") or "/"] = str(real)
    return paths


def _prepare(store: Store, pod: Object, volume: Object, directory: Path) -> Path:
    if "hostPath" in volume:
        return Path(volume["hostPath"]["path"])
    files = _files(store, pod, volume)
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return directory


def _files(store: Store, pod: Object, volume: Object) -> dict[str, bytes]:
    namespace = pod["metadata"]["namespace"]
    if "secret" in volume:
        source = volume["secret"]
        return _selected(secret_data(store, namespace, source), source, "references non-existent secret key")
    if "configMap" in volume:
        source = volume["configMap"]
        missing_key = "configmap references non-existent config key"
        return _selected(config_map_data(store, namespace, source), source, missing_key)
    if "downwardAPI" in volume:
        items = volume["downwardAPI"].get("items") or ()
        return {i["path"]: pod_field(pod, i["fieldRef"]["fieldPath"]).encode() for i in items if "fieldRef" in i}
    if "projected" in volume:
        parts = [_files(store, pod, part) for part in volume["projected"].get("sources") or ()]
        return {name: content for part in parts for name, content in part.items()}
    return {}


def _selected(data: dict[str, bytes], source: Object, missing_key: str) -> dict[str, bytes]:
    items = source.get("items")
    if not items:
        return data
    missing = [item["key"] for item in items if item["key"] not in data]
    if missing and not source.get("optional"):
        raise ConfigError(f"{missing_key}: {missing[0]}")
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
