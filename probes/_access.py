"""Address and credentials of the cluster's API: from KUBECONFIG if set, else from the pod's service account."""

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probes._trust import load_client_certificate, tls_context

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(Exception):
    """Address or credentials of the API are missing; the text has what is missing and where it was expected."""


@dataclass(frozen=True)
class Access:
    """Address and TLS settings of a cluster's API."""

    server: str
    """URL without a trailing slash."""
    namespace: str = "default"
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    """None for plain http."""

    @property
    def host(self) -> str:
        """The API server's host name or address."""
        return urlsplit(self.server).hostname or ""

    @property
    def port(self) -> int:
        """The API server's port."""
        return urlsplit(self.server).port or (443 if self.tls else 80)

    @property
    def prefix(self) -> str:
        """The path prefix of a proxy in front of the API; usually empty."""
        return urlsplit(self.server).path


def find_access(environ: Mapping[str, str]) -> Access:
    """The access to the API; raises AccessError if there is none."""
    kubeconfig = environ.get("KUBECONFIG", "")
    if kubeconfig:
        return _from_kubeconfig(Path(kubeconfig.split(os.pathsep)[0]))
    return _from_service_account(environ)


def _from_service_account(environ: Mapping[str, str]) -> Access:
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = (SERVICE_ACCOUNT / "token").read_text().strip()
        tls = tls_context((SERVICE_ACCOUNT / "ca.crt").read_bytes())
        namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except (OSError, ValueError) as error:
        raise AccessError(
            f"no access to the API: KUBECONFIG is not set and the service account is not mounted ({error})"
        ) from error
    if not host:
        raise AccessError("no access to the API: KUBECONFIG and KUBERNETES_SERVICE_HOST are not set")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, namespace, token, tls)


def _from_kubeconfig(path: Path) -> Access:
    try:
        config = _parse(path.read_text())
        context = _named(config, "context", config["current-context"])
        cluster = _named(config, "cluster", context["cluster"])
        user = _named(config, "user", context["user"]) if context.get("user") else {}
        server = str(cluster["server"]).rstrip("/")
        unsupported = [key for key in ("exec", "auth-provider", "username") if user.get(key)]
        if unsupported:
            raise AccessError(
                f"kubeconfig {path}: the user has {unsupported[0]}: expected token, tokenFile or client certificate"
            )
        token = user.get("token") or (_relative_to(path, user["tokenFile"]).read_text() if "tokenFile" in user else "")
        tls = _tls(path, cluster, user) if server.startswith("https:") else None
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise AccessError(f"kubeconfig {path}: {type(error).__name__}: {error}") from error
    return Access(server, context.get("namespace") or "default", token.strip(), tls)


def _parse(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return json.loads(text)
    import yaml  # noqa: PLC0415 (takes 50 ms, and no pod in a real cluster needs it)

    return yaml.safe_load(text)


def _named(config: Any, kind: str, name: str) -> dict[str, Any]:
    for entry in config[f"{kind}s"]:
        if entry["name"] == name:
            found: dict[str, Any] = entry[kind]
            return found
    raise LookupError(f"{kind} {name!r} is not defined")


def _relative_to(kubeconfig: Path, name: str) -> Path:
    """The path of a file in a kubeconfig, relative to the kubeconfig's folder."""
    return kubeconfig.parent / name


def _tls(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    authorities = None
    if data := cluster.get("certificate-authority-data"):  # it overrides the file, as in kubectl
        authorities = base64.b64decode(data)
    elif file := cluster.get("certificate-authority"):
        authorities = _relative_to(path, file).read_bytes()
    tls = tls_context(authorities)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if "client-certificate-data" in user:
        # OpenSSL reads a chain and its key only from files.
        with tempfile.NamedTemporaryFile() as pem:
            for key in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(user[key]) + b"\n")
            pem.flush()
            load_client_certificate(tls, pem.name)
    elif "client-certificate" in user:
        load_client_certificate(
            tls, _relative_to(path, user["client-certificate"]), _relative_to(path, user["client-key"])
        )
    return tls
