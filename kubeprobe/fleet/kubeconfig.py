"""Kubeconfig files: one context is extracted, validated and made self-contained.

Format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/. Certificates and keys are inlined;
token files and exec plugins stay references, with absolute paths. What KubeProbe cannot use is an error
when the cluster is added, and not at its first run.
"""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kubeprobe.errors import InvalidInputError
from kubeprobe.names import nearest

_SECTIONS = ("clusters", "users", "contexts")
_NAME = "cluster"
_CLUSTER_KEYS = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "extensions")
_USER_KEYS = ("token", "username", "password")
_PROXY_SCHEMES = ("http", "https")


def read_kubeconfig(path: Path) -> dict[str, Any]:
    """The content of a kubeconfig file. Raises InvalidInputError."""
    try:
        found = _parse(path.read_text())
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RecursionError:
        raise InvalidInputError(f"{path}: is nested too deeply; expected a kubeconfig") from None
    except (YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an invalid date or number
        # Not the parser's own text: it quotes the file, which holds secrets.
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = f" (line {mark.line + 1})" if mark else ""
        raise InvalidInputError(f"{path}: is not YAML{line}; expected a kubeconfig") from None
    if not isinstance(found, dict) or not all(_is_section(found.get(name)) for name in _SECTIONS):
        raise InvalidInputError(f"{path}: is not a kubeconfig; expected a mapping with clusters, users and contexts")
    return found


def flatten(config: dict[str, Any], folder: Path, context: str | None = None) -> dict[str, Any]:
    """One context (default: the current one) as a self-contained kubeconfig.

    `folder`: the base of relative paths.
    """
    name = context or config.get("current-context")
    if not name:
        known = [str(entry.get("name")) for entry in config.get("contexts") or ()]
        raise InvalidInputError(f"the kubeconfig has no current-context; name one.{nearest('', known)}")
    chosen = _find(config, "contexts", str(name), "context")
    cluster = _find(config, "clusters", str(chosen.get("cluster") or ""), "cluster")
    user = _find(config, "users", str(chosen["user"]), "user") if chosen.get("user") else {}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _NAME,
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
        "clusters": [{"name": _NAME, "cluster": _flatten_cluster(cluster, folder)}],
        "users": [{"name": _NAME, "user": _flatten_user(user, folder)}],
    }


def cluster_of(flat: dict[str, Any]) -> dict[str, Any]:
    """The cluster entry of a flattened kubeconfig."""
    found: dict[str, Any] = flat["clusters"][0]["cluster"]
    return found


def user_of(flat: dict[str, Any]) -> dict[str, Any]:
    """The user entry of a flattened kubeconfig."""
    found: dict[str, Any] = flat["users"][0]["user"]
    return found


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)  # the local cluster writes JSON: with a thousand contexts, YAML takes seconds
    except orjson.JSONDecodeError:
        return YAML(typ="safe", pure=True).load(text)


def _is_section(found: Any) -> bool:
    return found is None or (isinstance(found, list) and all(isinstance(entry, dict) for entry in found))


def _is_address(server: str) -> bool:
    try:
        parts = urlsplit(server)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _find(config: dict[str, Any], section: str, name: str, kind: str) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if str(entry.get("name")) == name:
            return _mapping(entry.get(kind), f"{kind} {name!r}")
    known = [str(entry.get("name")) for entry in config.get(section) or ()]
    raise InvalidInputError(f"the kubeconfig has no {kind} {name!r}.{nearest(name, known)}")


def _mapping(found: Any, what: str) -> dict[str, Any]:
    """A section of the kubeconfig. Its value is not part of the error: it may be a secret."""
    if not isinstance(found or {}, dict):
        raise InvalidInputError(f"the kubeconfig's {what} is not a mapping; expected its fields")
    return dict(found or {})


def _flatten_cluster(cluster: dict[str, Any], folder: Path) -> dict[str, Any]:
    server = str(cluster.get("server") or "")
    if not _is_address(server):
        raise InvalidInputError(
            f"the kubeconfig's server {server!r} is not an address; expected https://HOST[:PORT][/PATH]"
        )
    flat = {key: cluster[key] for key in _CLUSTER_KEYS if cluster.get(key)}
    proxy = str(cluster.get("proxy-url") or "http:").partition(":")[0].lower()
    if proxy not in _PROXY_SCHEMES:
        raise InvalidInputError(f"proxy-url with {proxy!r} is not supported; use an http or https proxy")
    authority = _inline(cluster, "certificate-authority", folder)
    return flat | ({"certificate-authority-data": authority} if authority else {})


def _flatten_user(user: dict[str, Any], folder: Path) -> dict[str, Any]:
    if "auth-provider" in user:
        raise InvalidInputError("auth-provider is not supported (Kubernetes 1.26 removed it); use an exec plugin")
    flat: dict[str, Any] = {key: str(user[key]).strip() for key in _USER_KEYS if user.get(key)}
    if not flat.get("token", "").isprintable():
        raise InvalidInputError("the kubeconfig's token is not one line of text")
    for name in ("client-certificate", "client-key"):
        if data := _inline(user, name, folder):
            flat[f"{name}-data"] = data
    if ("client-certificate-data" in flat) != ("client-key-data" in flat):
        raise InvalidInputError("the kubeconfig's user has a client certificate or its key, but not both")
    if user.get("tokenFile"):
        flat["tokenFile"] = str((folder / str(user["tokenFile"])).absolute())
    if user.get("exec"):
        flat["exec"] = _flatten_exec(_mapping(user["exec"], "exec plugin"), folder)
    return flat


def _flatten_exec(plugin: dict[str, Any], folder: Path) -> dict[str, Any]:
    command = str(plugin.get("command") or "")
    if not command or not plugin.get("apiVersion"):
        raise InvalidInputError("the kubeconfig's exec plugin needs a command and an apiVersion")
    if plugin.get("interactiveMode") == "Always":
        raise InvalidInputError(
            f"the exec plugin {command!r} needs a terminal (interactiveMode: Always), which runs do not have"
        )
    if "/" in command:  # as kubectl: a bare name is searched in PATH, a path is relative to the kubeconfig
        plugin["command"] = str((folder / command).absolute())
    return plugin


def _inline(entry: dict[str, Any], name: str, folder: Path) -> str | None:
    """Base64 of a PEM that a kubeconfig holds (`NAME-data`) or points to (`NAME`)."""
    if entry.get(f"{name}-data"):
        try:
            pem = base64.b64decode("".join(str(entry[f"{name}-data"]).split()), validate=True)
        except ValueError:
            raise InvalidInputError(f"the kubeconfig's {name}-data is not base64") from None
    elif entry.get(name):
        path = folder / str(entry[name])
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"the kubeconfig's {name} {path}: {error.strerror or error}") from error
    else:
        return None
    if b"-----BEGIN " not in pem or not pem.isascii():
        raise InvalidInputError(f"the kubeconfig's {name} is not PEM (-----BEGIN ...)")
    return base64.b64encode(pem).decode()
