"""Kubeconfig files: one context is extracted, validated and made self-contained.

What kubectl refuses is refused; what it honours is honoured, or refused by name (docs/catalog.md lists both).
Certificates and keys are inlined; token files and exec plugins stay references, with absolute paths. What KubeProbe
cannot use is an error when the cluster is added, and not at its first run.
"""

import base64
import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

import yarl

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.environment import is_loader_variable
from kubeprobe.fleet.files import FILE_LIMIT, read_limited, read_regular_file
from kubeprobe.fleet.kubeconfig_model import (
    ClusterFields,
    ContextFields,
    ExecFields,
    KubeConfig,
    UserFields,
    validate,
)
from kubeprobe.fleet.kubernetes_yaml import parse_yaml
from kubeprobe.fleet.pem import read_authorities, read_certificates, read_key
from kubeprobe.fleet.tls import client_context, load_client_certificate
from kubeprobe.names import nearest

KUBECONFIG_LIMIT = 16 << 20
"""Bytes of a kubeconfig."""
PLUGIN_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
CLUSTER_INFO_EXTENSION = "client.authentication.k8s.io/exec"
"""The extension of a cluster that is the configuration of exec plugins."""
_NAME = "cluster"
_MODES = ("Never", "IfAvailable", "Always")
_EXPECTED_SERVER = "expected https://HOST[:PORT][/PATH]"


def read_kubeconfig(path: Path) -> dict[str, Any]:
    """The content of a kubeconfig file, as JSON values of the right types. Raises InvalidInputError."""
    try:
        with path.open("rb") as file:  # may be a pipe, as in `--kubeconfig <(command)`
            data = read_limited(file.fileno(), KUBECONFIG_LIMIT)
        return parse_kubeconfig(data)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        raise InvalidInputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def parse_kubeconfig(data: bytes) -> dict[str, Any]:
    """As `read_kubeconfig`, of a file's content. Raises InvalidInputError that shows nothing of it."""
    try:
        found = parse_yaml(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidInputError("is not UTF-8; expected a kubeconfig") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; expected a kubeconfig") from None
    if not isinstance(found, dict):
        raise InvalidInputError("is not a kubeconfig; expected a mapping with clusters, users and contexts")
    config: KubeConfig = validate(KubeConfig, found, "")
    if config.kind not in {"", "Config"} or config.api_version not in {"", "v1"}:
        raise InvalidInputError("is not a kubeconfig; expected kind: Config and apiVersion: v1")
    return found


def flatten(config: Mapping[str, Any], folder: Path, context: str | None = None) -> dict[str, Any]:
    """One context (default: the current one) as a self-contained kubeconfig. Raises InvalidInputError.

    `config`: as read by `read_kubeconfig`. `folder`: the base of relative paths.
    """
    name = context or config.get("current-context")
    if not name:
        known = [str(entry.get("name")) for entry in _entries(config, "contexts")]
        raise InvalidInputError(f"the kubeconfig has no current-context; name one.{nearest('', known)}")
    chosen: ContextFields = _find(config, "context", str(name), ContextFields)
    cluster: ClusterFields = _find(config, "cluster", chosen.cluster, ClusterFields)
    user: UserFields = _find(config, "user", chosen.user, UserFields) if chosen.user else UserFields()
    flat_cluster = _Flattening(f"cluster {chosen.cluster!r}", folder).cluster(cluster)
    flat_user = _Flattening(f"user {chosen.user!r}", folder).user(user)
    if flat_cluster["server"].startswith("https:"):
        if not _identifies(user):
            raise InvalidInputError(
                f"the kubeconfig's context {name!r} has no credentials (kubectl would ask for a user name); expected a "
                "user with a token, a tokenFile, a client certificate, a username or an exec plugin"
            )
    elif _identifies(user) and not is_loopback(flat_cluster["server"]):
        raise InvalidInputError(
            f"the kubeconfig's cluster {chosen.cluster!r}: server is plain http, over which kubectl sends no "
            "credentials; use https, or a user without credentials"
        )
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _NAME,
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
        "clusters": [{"name": _NAME, "cluster": flat_cluster}],
        "users": [{"name": _NAME, "user": flat_user}],
    }


def cluster_of(flat: dict[str, Any]) -> dict[str, Any]:
    """The cluster entry of a flattened kubeconfig."""
    found: dict[str, Any] = flat["clusters"][0]["cluster"]
    return found


def user_of(flat: dict[str, Any]) -> dict[str, Any]:
    """The user entry of a flattened kubeconfig."""
    found: dict[str, Any] = flat["users"][0]["user"]
    return found


def read_cluster(flat: dict[str, Any]) -> ClusterFields:
    """The cluster of a flattened kubeconfig. Raises InvalidInputError if an earlier version stored other types."""
    found: ClusterFields = validate(ClusterFields, cluster_of(flat), "cluster")
    return found


def read_user(flat: dict[str, Any]) -> UserFields:
    """The user of a flattened kubeconfig. Raises InvalidInputError if an earlier version stored other types."""
    found: UserFields = validate(UserFields, user_of(flat), "user")
    return found


def is_loopback(server: str) -> bool:
    """Whether a server's address stays on this machine: then credentials may be sent without TLS."""
    host = urlsplit(server).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def is_kept_from_plugins(name: str) -> bool:
    """Whether exec plugins do not get an environment variable: it loads code; a KornShell reads the file ENV."""
    return name == "ENV" or is_loader_variable(name)


def header_problem(value: str) -> str | None:
    """Why a text cannot be the value of an HTTP header; None if it can."""
    is_valid = all(char == "\t" or (char >= " " and char != "\x7f") for char in value)
    return None if is_valid else "is not one line of text"


def _entries(config: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    return [entry or {} for entry in config.get(section) or ()]


def _find(config: Mapping[str, Any], kind: str, name: str, model: Any) -> Any:
    entries = _entries(config, f"{kind}s")
    for number, entry in enumerate(entries):
        if (entry.get("name") or "") == name and name:
            return validate(model, entry.get(kind), f"{kind}s[{number}].{kind}")
    known = [str(entry.get("name")) for entry in entries]
    raise InvalidInputError(f"the kubeconfig has no {kind} {name!r}.{nearest(name, known)}")


def _identifies(user: UserFields) -> bool:
    """Whether kubectl finds credentials in the user, so that it does not ask for a user name."""
    certificate = user.client_certificate or user.client_certificate_data
    return bool(user.token or user.token_file or user.username or certificate or user.exec)


class _Flattening:
    """Makes one entry of a kubeconfig self-contained. `entry` is its kind and name, for errors."""

    def __init__(self, entry: str, folder: Path) -> None:
        self._entry = entry
        self._folder = folder

    def cluster(self, cluster: ClusterFields) -> dict[str, Any]:
        flat: dict[str, Any] = {"server": self._server(cluster.server)}
        if cluster.tls_server_name:
            flat["tls-server-name"] = cluster.tls_server_name
        if cluster.insecure_skip_tls_verify:
            flat["insecure-skip-tls-verify"] = True
        if cluster.disable_compression:
            flat["disable-compression"] = True
        if cluster.proxy_url:
            flat["proxy-url"] = self._proxy(cluster.proxy_url)
        for extension in cluster.extensions:
            if extension.name == CLUSTER_INFO_EXTENSION:
                flat["extensions"] = [{"name": extension.name, "extension": extension.extension}]
        data, file = cluster.certificate_authority_data, cluster.certificate_authority
        if authority := self._inline("certificate-authority", data, file, read_authorities):
            if cluster.insecure_skip_tls_verify:
                self._refuse("has a certificate-authority and insecure-skip-tls-verify: true; expected one of them")
            flat["certificate-authority-data"] = authority
        return flat

    def user(self, user: UserFields) -> dict[str, Any]:
        if user.auth_provider:
            self._refuse("auth-provider is not supported; use an exec plugin")
        named = {"token": user.token, "username": user.username, "password": user.password}
        flat: dict[str, Any] = {key: value for key, value in named.items() if value}
        if problem := header_problem(user.token):
            self._refuse(f"token {problem}; expected a token")
        if (user.username or user.password) and (user.token or (user.username and user.token_file)):
            self._refuse("has a token and a username or password; expected one of them")
        if user.token_file:
            flat["tokenFile"] = self._absolute(user.token_file)
        if user.client_certificate or user.client_certificate_data:
            flat |= self._certificate(user)
        flat |= self._impersonation(user)
        if user.exec:
            plugin = self._exec(user.exec)
            if not flat.keys() & {"token", "tokenFile", "username", "client-certificate-data"}:
                flat["exec"] = plugin  # as in kubectl, other credentials come first
        return flat

    def _certificate(self, user: UserFields) -> dict[str, str]:
        data, file = user.client_certificate_data, user.client_certificate
        certificate = self._inline("client-certificate", data, file, read_certificates)
        key = self._inline("client-key", user.client_key_data, user.client_key, read_key)
        if not certificate or not key:
            self._refuse("has a client certificate or its key, but not both")
        try:
            pair = (base64.b64decode(each).decode() for each in (certificate, key))
            load_client_certificate(client_context(verify=False), *pair)
        except (InvalidInputError, OSError) as error:
            self._refuse(str(error))
        return {"client-certificate-data": certificate, "client-key-data": key}

    def _impersonation(self, user: UserFields) -> dict[str, Any]:
        named = {"as-uid": user.impersonate_uid, "as-groups": user.impersonate_groups}
        found = {key: value for key, value in {**named, "as-user-extra": user.impersonate_extra}.items() if value}
        if found and not user.impersonate:
            self._refuse(f"has {', '.join(found)} without a user to impersonate; expected as: USER")
        texts = [user.impersonate, user.impersonate_uid, *user.impersonate_groups]
        texts += [value for values in user.impersonate_extra.values() for value in values]
        if any(header_problem(text) for text in texts):
            self._refuse("impersonates what is not one line of text; expected names")
        return {"as": user.impersonate, **found} if user.impersonate else {}

    def _exec(self, plugin: ExecFields) -> dict[str, Any]:
        if not plugin.command or not plugin.api_version:
            self._refuse("exec: needs a command and an apiVersion")
        where = f"exec plugin {plugin.command!r}:"
        if plugin.api_version not in PLUGIN_VERSIONS:
            self._refuse(f"{where} unsupported apiVersion {plugin.api_version!r}; expected {PLUGIN_VERSIONS[0]}")
        mode = plugin.interactive_mode or ("IfAvailable" if plugin.api_version.endswith("v1beta1") else "")
        if mode not in _MODES:
            self._refuse(f"{where} interactiveMode {mode!r} is invalid; expected Never or IfAvailable")
        if mode == "Always":
            self._refuse(f"{where} needs a terminal (interactiveMode: Always), which runs do not have")
        for variable in plugin.env:
            if not variable.name or "=" in variable.name:
                self._refuse(f"{where} env has a variable with the name {variable.name!r}; expected a name")
            if is_kept_from_plugins(variable.name):
                self._refuse(f"{where} env has {variable.name}, which loads code into a program; remove it")
        flat: dict[str, Any] = plugin.model_dump(by_alias=True, exclude_defaults=True)
        flat["interactiveMode"] = mode
        if "/" in plugin.command:  # as kubectl: a bare name is searched in PATH, a path is relative to the kubeconfig
            flat["command"] = self._absolute(plugin.command)
        return flat

    def _inline(self, name: str, data: bytes, file: str, read: Callable[[bytes], str]) -> str | None:
        """Base64 of a PEM that a kubeconfig holds (`NAME-data`) or points to (`NAME`)."""
        if data and file:
            self._refuse(f"has both {name} and {name}-data; expected one of them")
        field = f"{name}-data" if data else f"{name} {self._absolute(file)}"
        if len(data) > FILE_LIMIT:
            self._refuse(f"{field} is too large; expected at most {FILE_LIMIT} bytes")
        try:
            pem = data or (read_regular_file(self._folder / file) if file else b"")
            return base64.b64encode(read(pem).encode()).decode() if pem or file else None
        except InvalidInputError as error:
            self._refuse(f"{field} {error}")

    def _absolute(self, path: str) -> str:
        return os.path.abspath(self._folder / path)  # noqa: PTH100 (Path.absolute keeps `..`)

    def _server(self, server: str) -> str:
        parts = _split_url(server)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            shown = "is not an address" if "@" in server else f"{server!r} is not an address"
            self._refuse(f"server {shown}; {_EXPECTED_SERVER}")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            self._refuse(f"server has a user name, a query or a fragment; {_EXPECTED_SERVER}")
        return f"{parts.scheme}://{parts.netloc.rstrip(':')}{parts.path}"

    def _proxy(self, proxy: str) -> str:
        parts = _split_url(proxy)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            scheme = proxy.partition(":")[0].lower() if ":" in proxy else ""
            self._refuse(f"proxy-url with {scheme!r} is not supported; use an http or https proxy: http://HOST:PORT")
        return proxy

    def _refuse(self, problem: str) -> NoReturn:
        raise InvalidInputError(f"the kubeconfig's {self._entry}: {problem}") from None


def _split_url(url: str) -> SplitResult | None:
    """The parts of a URL; None if it is not one. Everything that the HTTP client refuses is refused."""
    if any(char <= " " or char == "\x7f" for char in url):
        return None
    try:
        parts = urlsplit(url)
        is_usable = parts.port != 0 and yarl.URL(url).host
    except ValueError:
        return None
    return parts if is_usable else None
